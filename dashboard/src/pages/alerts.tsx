import { useEffect, useState } from "preact/hooks";
import { api, Failure, query } from "../api";
import { count } from "../format";
import { type Route, useLoad } from "../hooks";
import { absolute, Ago } from "../time";
import type { Alert, AlertState, AlertVerb } from "../types";
import { Drawer, Empty, Facts, KeyLink, Page, SeverityTag, Show, StateTag, Trouble, Values } from "../ui";
import { AlertTable } from "./alerttable";

interface List {
  alerts: Alert[];
  next_cursor: string | null;
}

const states: (AlertState | "all")[] = ["open", "acked", "resolved", "all"];

export function Alerts({ route, may, onChange }: { route: Route; may: boolean; onChange: () => void }) {
  const id = route.path[1];
  const state = (route.params.get("state") ?? "open") as AlertState | "all";
  const rule = route.params.get("rule") ?? "";
  const filter = { state: state === "all" ? undefined : state, rule, limit: 50 };
  const list = useLoad("alerts" + query(filter), (signal) => api<List>("/api/alerts" + query(filter), { signal }), 5);
  const [older, setOlder] = useState<List>();
  const [failure, setFailure] = useState<Failure>();
  useEffect(() => setOlder(undefined), [state, rule]);
  const cursor = older ? older.next_cursor : list.data?.next_cursor;
  const more = async () => {
    try {
      const next = await api<List>("/api/alerts" + query({ ...filter, cursor: cursor! }));
      setOlder({ alerts: [...(older?.alerts ?? []), ...next.alerts], next_cursor: next.next_cursor });
      setFailure(undefined);
    } catch (f) {
      setFailure(f as Failure);
    }
  };
  const view = query({ state: state === "open" ? undefined : state, rule });
  return (
    <Page
      title="Alerts"
      name="Alerts"
      aside={
        <nav class="switch" aria-label="State">
          {states.map((s) => (
            <a key={s} href={"#/alerts" + query({ state: s === "open" ? undefined : s, rule })} aria-current={s === state ? "true" : undefined}>
              {s}
            </a>
          ))}
        </nav>
      }
    >
      {rule && (
        <p>
          Of the rule <a href={`#/rules/${rule}`}>{rule}</a> · <a href={"#/alerts" + query({ state: state === "open" ? undefined : state })}>of all rules</a>
        </p>
      )}
      <Show of={list}>
        {(data) => {
          const known = new Set(data.alerts.map((a) => a.id));
          const all = [...data.alerts, ...(older?.alerts ?? []).filter((a) => !known.has(a.id))];
          if (all.length === 0) {
            return (
              <Empty title={state === "open" ? "Nothing is open." : "There are none."}>
                <p>
                  Alerts are raised by <a href="#/rules">rules</a>.
                </p>
              </Empty>
            );
          }
          return <AlertTable alerts={all} />;
        }}
      </Show>
      {failure && <Trouble of={failure} />}
      {cursor && (
        <button type="button" onClick={more}>
          Older ones
        </button>
      )}
      {id && (
        <AlertDrawer
          key={id}
          id={id}
          may={may}
          onClose={() => (location.hash = "#/alerts" + view)}
          onChange={() => {
            list.reload();
            setOlder(undefined);
            onChange();
          }}
        />
      )}
    </Page>
  );
}

const verbs: Record<AlertState, [AlertVerb, string][]> = {
  open: [
    ["ack", "Acknowledge"],
    ["resolve", "Resolve"],
  ],
  acked: [
    ["resolve", "Resolve"],
    ["reopen", "Reopen"],
  ],
  resolved: [["reopen", "Reopen"]],
};
const past: Record<AlertVerb, string> = { ack: "acknowledged", resolve: "resolved", reopen: "reopened" };

function AlertDrawer({ id, may, onClose, onChange }: { id: string; may: boolean; onClose: () => void; onChange: () => void }) {
  const loaded = useLoad(`alert ${id}`, (signal) => api<Alert>(`/api/alerts/${encodeURIComponent(id)}`, { signal }), 10);
  const [failure, setFailure] = useState<Failure>();
  const [comment, setComment] = useState("");
  const [busy, setBusy] = useState(false);
  const act = async (verb: AlertVerb) => {
    setBusy(true);
    setFailure(undefined);
    try {
      await api(`/api/alerts/${encodeURIComponent(id)}/${verb}`, { method: "POST", body: { comment: comment.trim() || null } });
      setComment("");
      loaded.reload();
      onChange();
    } catch (f) {
      setFailure(f as Failure);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Drawer title="Alert" onClose={onClose}>
      <Show of={loaded}>
        {(a) => (
          <>
            <p class="lead">
              <SeverityTag of={a.severity} /> {a.message}
            </p>
            <Facts
              of={[
                ["State", <StateTag of={a.state} />],
                ["Key", <KeyLink id={a.key_id} />],
                ["Rule", <RuleOf alert={a} />],
                ["Raised", <Exact at={a.raised_at} />],
                ["Hits", <>{count(a.hits)}, the last one <Ago at={a.last_at} /></>],
                ["Event", <code>{a.event_id}</code>],
              ]}
            />
            <h3>Why it was raised</h3>
            <Values of={a.values} />
            <h3>What was done</h3>
            {a.actions?.length ? (
              <ol class="list">
                {a.actions.map((d, i) => (
                  <li key={i}>
                    <b>{past[d.action]}</b> <Ago at={d.at} /> <span class="muted">by API key {d.by}</span>
                    {d.comment && <p class="quote">{d.comment}</p>}
                  </li>
                ))}
              </ol>
            ) : (
              <p class="muted">Nothing yet.</p>
            )}
            {may ? (
              <form class="act" onSubmit={(e) => e.preventDefault()}>
                <label for="comment">Comment</label>
                <textarea id="comment" rows={2} maxLength={1000} value={comment} onInput={(e) => setComment(e.currentTarget.value)} />
                {failure && <Trouble of={failure} />}
                <div class="buttons">
                  {verbs[a.state].map(([verb, name], i) => (
                    <button key={verb} type="button" class={i === 0 ? "primary" : ""} disabled={busy} onClick={() => act(verb)}>
                      {name}
                    </button>
                  ))}
                </div>
              </form>
            ) : (
              <p class="muted">This API key may look and not act: it lacks the scope “rules”.</p>
            )}
          </>
        )}
      </Show>
    </Drawer>
  );
}

function RuleOf({ alert: a }: { alert: Alert }) {
  return (
    <>
      <a href={`#/rules/${a.rule_id}`}>{a.rule_name}</a> <span class="muted">version {a.rule_version}</span>
    </>
  );
}

const Exact = ({ at }: { at: string }) => (
  <>
    <Ago at={at} /> <span class="muted">{absolute(at)}</span>
  </>
);
