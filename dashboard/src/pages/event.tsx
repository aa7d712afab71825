import { api } from "../api";
import { useLoad } from "../hooks";
import { absolute, Ago } from "../time";
import type { Alert, Event } from "../types";
import { Drawer, Facts, Json, KeyLink, SeverityTag, Show, StateTag } from "../ui";

const base = { nominal: 0, warning: 10, critical: 30 };

// EventDrawer shows the whole of an event, and the alerts that it raised or counts on.
export function EventDrawer({ event: e, onClose }: { event: Event; onClose: () => void }) {
  // What an event that just came has raised is stored within half a second.
  const alerts = useLoad(`alerts of ${e.id}`, (signal) => api<{ alerts: Alert[] }>(`/api/alerts?event_id=${e.id}`, { signal }), 20);
  return (
    <Drawer title={`Event ${e.id}`} onClose={onClose}>
      <Facts
        of={[
          ["Time", <time dateTime={e.created_at} class="num">{absolute(e.created_at)}</time>],
          ["Key", <KeyLink id={e.key_id} />],
          ["Type", e.event_type],
          ["Severity", <SeverityTag of={e.severity} />],
          ["Score", <Score of={e} />],
          ["Actor", e.actor],
          ["Address", e.source_ip],
          ["Event id", <code>{e.event_id}</code>],
        ]}
      />
      <h3>Rules</h3>
      <Show of={alerts}>
        {({ alerts }) =>
          alerts.length === 0 ? (
            <p class="muted">{e.score > base[e.severity] ? "Rules gave it points and raised nothing new: it counts on earlier alerts." : "No rule held."}</p>
          ) : (
            <ul class="list">
              {alerts.map((a) => (
                <li key={a.id}>
                  <SeverityTag of={a.severity} /> <a href={`#/alerts/${a.id}`}>{a.message}</a>
                  <div class="muted small">
                    {a.event_id === e.id ? "raised by this event" : "counts on this alert"} · rule <a href={`#/rules/${a.rule_id}`}>{a.rule_id}</a> · <StateTag of={a.state} /> · <Ago at={a.raised_at} />
                  </div>
                </li>
              ))}
            </ul>
          )
        }
      </Show>
      <h3>Details</h3>
      <Json of={e.details} />
    </Drawer>
  );
}

function Score({ of: e }: { of: Event }) {
  const points = e.score - base[e.severity];
  return (
    <>
      <span class="strong num">{e.score}</span>
      <span class="muted">
        {" "}
        = {base[e.severity]} for the severity{points > 0 && ` + ${points} by rules`}
      </span>
    </>
  );
}
