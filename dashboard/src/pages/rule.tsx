import { useEffect, useState } from "preact/hooks";
import { api, Failure } from "../api";
import { Editor } from "../editor";
import { bytes, micros } from "../format";
import { useDebounced, useLoad } from "../hooks";
import type { Cost, Event, FieldError, Rule, RuleDraft } from "../types";
import { severities } from "../types";
import { Page, Show, Trouble } from "../ui";
import { Trial } from "./trial";

const blank: RuleDraft = { id: "", name: "", when: "", severity: "warning", score: 20, dedup: "15m", message: "", enabled: true, mode: "live" };

const members = ["id", "name", "when", "severity", "score", "dedup", "message", "enabled", "mode", "tests"] as const;

// draftOf leaves out what a version adds to a rule.
function draftOf(r: Rule): RuleDraft {
  return Object.fromEntries(members.filter((m) => r[m] !== undefined).map((m) => [m, r[m]])) as unknown as RuleDraft;
}

export function RuleEditor({ id, may }: { id: string; may: boolean }) {
  const isNew = id === "new";
  const loaded = useLoad<Rule | null>("rule", async (signal) => (isNew ? null : api<Rule>(`/api/rules/${encodeURIComponent(id)}`, { signal })));
  return (
    <Page
      name={isNew ? "New rule" : id}
      title={
        <>
          <a href="#/rules">Rules</a> <span class="muted">/</span> {isNew ? "New rule" : (loaded.data?.name ?? id)}
        </>
      }
      aside={!isNew && <a href={`#/alerts?state=all&rule=${id}`}>Its alerts</a>}
    >
      <Show of={loaded}>{(rule) => <Form rule={rule} may={may} reload={loaded.reload} />}</Show>
    </Page>
  );
}

function Form({ rule, may, reload }: { rule: Rule | null; may: boolean; reload: () => void }) {
  const [draft, setDraft] = useState<RuleDraft>(rule ? draftOf(rule) : blank);
  const [failure, setFailure] = useState<Failure>();
  const [done, setDone] = useState("");
  const [busy, setBusy] = useState(false);
  const [sure, setSure] = useState(false);
  const seen = useLoad("seen", (signal) => api<{ events: Event[] }>("/api/events?limit=100", { signal }));
  const check = useCheck(draft, may);
  useEffect(() => {
    if (rule) setDraft(draftOf(rule));
  }, [rule?.version]);

  const set = (change: Partial<RuleDraft>) => {
    setDraft((d) => ({ ...d, ...change }));
    setDone("");
  };
  const run = async (f: () => Promise<void>) => {
    setBusy(true);
    setFailure(undefined);
    setDone("");
    try {
      await f();
    } catch (e) {
      setFailure(e as Failure);
    } finally {
      setBusy(false);
    }
  };
  const save = (e: SubmitEvent) => {
    e.preventDefault();
    void run(async () => {
      if (rule) {
        const next = await api<Rule>(`/api/rules/${rule.id}`, { method: "PUT", body: { ...sent(draft), version: rule.version } });
        setDone(`Version ${next.version} judges every event that is accepted from 2 s on.`);
        reload();
      } else {
        const made = await api<Rule>("/api/rules", { method: "POST", body: sent(draft) });
        location.hash = `#/rules/${made.id}`;
      }
    });
  };
  const remove = () =>
    run(async () => {
      await api(`/api/rules/${rule!.id}`, { method: "DELETE" });
      location.hash = "#/rules";
    });
  const errors = (field: string) => (failure?.errors.length ? failure.errors : check.errors).filter((e) => e.field === field);
  const elsewhere = failure && failure.errors.every((e) => !["id", "name", "when", "score", "dedup", "message"].includes(e.field));
  return (
    <div class="columns editor-page">
      <form class="stack" onSubmit={save}>
        {!rule && (
          <Text label="Id" hint="export-burst" value={draft.id} errors={errors("id")} onChange={(id) => set({ id })} />
        )}
        <Text label="Name" hint="Many exports in a short time" value={draft.name} errors={errors("name")} readOnly={!may} onChange={(name) => set({ name })} />
        <div class="field">
          <label for="when">Holds when</label>
          <Editor id="when" value={draft.when} readOnly={!may} errors={errors("when")} seen={seen.data?.events ?? []} onChange={(when) => set({ when })} />
          <CostLine of={check} />
        </div>
        <div class="inline">
          <label class="field">
            <span>Severity of its alerts</span>
            <select value={draft.severity} disabled={!may} onChange={(e) => set({ severity: e.currentTarget.value as RuleDraft["severity"] })}>
              {severities.map((s) => (
                <option key={s}>{s}</option>
              ))}
            </select>
          </label>
          <label class="field">
            <span>Score it adds</span>
            <input type="number" min={0} max={100} value={draft.score} readOnly={!may} onInput={(e) => set({ score: Number(e.currentTarget.value) })} />
          </label>
          <Text label="One alert in" hint="15m" value={draft.dedup} errors={errors("dedup")} readOnly={!may} onChange={(dedup) => set({ dedup })} />
        </div>
        <Text
          label="Message; {{ }} holds an expression"
          hint='{{key_id}}: {{count("10m")}} events'
          value={draft.message}
          errors={errors("message")}
          readOnly={!may}
          onChange={(message) => set({ message })}
        />
        <div class="inline">
          <label class="check">
            <input type="checkbox" checked={draft.enabled} disabled={!may} onChange={(e) => set({ enabled: e.currentTarget.checked })} /> enabled
          </label>
          <label class="check">
            <input type="checkbox" checked={draft.mode === "shadow"} disabled={!may} onChange={(e) => set({ mode: e.currentTarget.checked ? "shadow" : "live" })} /> shadow: it counts, and raises nothing
          </label>
        </div>
        {failure && elsewhere && <Trouble of={failure} again={failure.code === "conflict" ? reload : undefined} />}
        {done && <p role="status">{done}</p>}
        {may ? (
          <div class="buttons">
            <button type="submit" class="primary" disabled={busy || check.errors.length > 0}>
              {rule ? "Save" : "Create"}
            </button>
            {rule && !sure && (
              <button type="button" class="quiet" onClick={() => setSure(true)}>
                Delete…
              </button>
            )}
            {rule && sure && (
              <>
                <button type="button" class="danger" disabled={busy} onClick={remove}>
                  Delete the rule; its alerts stay
                </button>
                <button type="button" class="quiet" onClick={() => setSure(false)}>
                  Keep it
                </button>
              </>
            )}
          </div>
        ) : (
          <p class="muted">This API key may look and not change: it lacks the scope “rules”.</p>
        )}
      </form>
      {may && <Trial rule={sent({ ...draft, id: draft.id || "trial", name: draft.name || "A trial" })} />}
    </div>
  );
}

// sent leaves out what has its default.
function sent(d: RuleDraft): Partial<RuleDraft> {
  const { message, ...rest } = d;
  return message === "" ? rest : d;
}

interface Check {
  errors: FieldError[];
  cost?: Cost;
  busy: boolean;
  trouble?: string;
}

// useCheck asks the server about the draft whenever the typing rests.
function useCheck(draft: RuleDraft, may: boolean): Check {
  const settled = useDebounced(draft, 450);
  const [state, setState] = useState<Check>({ errors: [], busy: false });
  useEffect(() => {
    if (!may || settled.when.trim() === "") {
      setState({ errors: [], busy: false });
      return;
    }
    const stop = new AbortController();
    const body = sent({ ...settled, id: settled.id || "draft", name: settled.name || "draft" });
    api<Cost>("/api/rules/validate", { method: "POST", body, signal: stop.signal }).then(
      (cost) => setState({ errors: [], cost, busy: false }),
      (f: Failure) => !stop.signal.aborted && setState({ errors: f.errors ?? [], busy: false, trouble: f.errors?.length ? undefined : f.message }),
    );
    return () => stop.abort();
  }, [settled, may]);
  return { ...state, busy: settled !== draft };
}

function CostLine({ of }: { of: Check }) {
  if (of.trouble) return <p class="error">{of.trouble}</p>;
  if (!of.cost) return <p class="muted small">Ctrl+Space completes. The windows are those of the event's own key.</p>;
  const c = of.cost;
  return (
    <p class="muted small num">
      At worst {micros(c.worst_micros)} of {micros(c.max_micros)} for an event, {bytes(c.worst_bytes)} for a key
      {c.aggregates.length > 0 && `; ${c.aggregates.length} ${c.aggregates.length === 1 ? "aggregate" : "aggregates"}`}
    </p>
  );
}

function Text(props: { label: string; hint: string; value: string; errors: FieldError[]; readOnly?: boolean; onChange: (s: string) => void }) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <input
        value={props.value}
        placeholder={props.hint}
        readOnly={props.readOnly}
        spellcheck={false}
        autocomplete="off"
        aria-invalid={props.errors.length > 0 ? "true" : undefined}
        onInput={(e) => props.onChange(e.currentTarget.value)}
      />
      {props.errors.map((e) => (
        <span key={e.message} class="error">
          {e.message}
        </span>
      ))}
    </label>
  );
}
