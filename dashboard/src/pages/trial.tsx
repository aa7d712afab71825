import { useState } from "preact/hooks";
import { api, Failure } from "../api";
import { clock } from "../time";
import type { Outcome, RuleDraft } from "../types";
import { SeverityTag, Trouble, Values } from "../ui";

const example = `[
  {"event_type": "export", "severity": "warning"},
  {"event_type": "export", "severity": "warning", "at": "1m", "repeat": 3, "every": "30s"}
]`;

// What an event of a trial may say. Events are pasted as the API shows them, with more.
const members = ["at", "repeat", "every", "key_id", "event_type", "severity", "source_ip", "actor", "details", "event_id"];

// eventsOf reads one event, several, one a line, or an answer of the API.
function eventsOf(text: string): unknown[] {
  let all: unknown;
  try {
    all = JSON.parse(text);
  } catch (e) {
    const lines = text.split("\n").filter((l) => l.trim() !== "");
    if (lines.length < 2) throw e;
    all = lines.map((l) => JSON.parse(l));
  }
  if (typeof all === "object" && all !== null && "events" in all) all = all.events;
  return (Array.isArray(all) ? all : [all]).map((e) => {
    if (typeof e !== "object" || e === null) throw new Error("an event is an object");
    const from = e as Record<string, unknown>;
    const kept = Object.fromEntries(members.filter((m) => from[m] !== undefined && from[m] !== null).map((m) => [m, from[m]]));
    if (kept.at === undefined && typeof from.created_at === "string") kept.at = from.created_at;
    return kept;
  });
}

// Trial tries the rule as it is now on events that somebody pastes.
export function Trial({ rule }: { rule: Partial<RuleDraft> }) {
  const [text, setText] = useState(example);
  const [outcomes, setOutcomes] = useState<Outcome[]>();
  const [failure, setFailure] = useState<Failure>();
  const run = async () => {
    setOutcomes(undefined);
    setFailure(undefined);
    let events: unknown[];
    try {
      events = eventsOf(text).sort((a, b) => String((a as { at?: string }).at ?? "").localeCompare(String((b as { at?: string }).at ?? "")) || 0);
    } catch (e) {
      setFailure(new Failure(400, "malformed_json", `This is no JSON of events: ${(e as Error).message}`));
      return;
    }
    try {
      setOutcomes((await api<{ outcomes: Outcome[] }>("/api/rules/trial", { method: "POST", body: { rule, events } })).outcomes);
    } catch (f) {
      setFailure(f as Failure);
    }
  };
  return (
    <section class="stack" aria-label="Trial">
      <h2>Try it</h2>
      <label class="field">
        <span>Events, as JSON: paste some, or write them as in a rule's tests</span>
        <textarea class="code" rows={6} spellcheck={false} value={text} onInput={(e) => setText(e.currentTarget.value)} />
      </label>
      <div class="buttons">
        <button type="button" onClick={run} disabled={!rule.when}>
          Run the trial
        </button>
        <span class="muted small">Nothing is kept; windows begin empty.</span>
      </div>
      {failure && <Trouble of={failure} />}
      {outcomes && (
        <ol class="list outcomes" aria-live="polite">
          {outcomes.map((o, i) => (
            <li key={i}>
              <span class="num muted">{clock(o.at)}</span> {o.key_id} · score <b class="num">{o.score}</b> · {o.holds ? (o.alert ? <b>raises an alert</b> : `holds: hit ${o.hits} on the alert`) : <span class="muted">does not hold</span>}
              {o.alert && (
                <>
                  <p class="quote">
                    <SeverityTag of={o.alert.severity} /> {o.alert.message}
                  </p>
                  <Values of={o.alert.values} />
                </>
              )}
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
