import { useState } from "preact/hooks";
import { api, query } from "../api";
import { ActivityChart } from "../chart";
import { count } from "../format";
import { useLoad } from "../hooks";
import type { Activity, Alert } from "../types";
import { Empty, Page, Show } from "../ui";
import { AlertTable } from "./alerttable";

// spans are how far back the overview looks: the name, seconds, and the step.
export const spans: [string, number, number][] = [
  ["1 h", 3_600, 60],
  ["6 h", 6 * 3_600, 300],
  ["24 h", 86_400, 900],
  ["7 d", 7 * 86_400, 3_600],
];

export function SpanSwitch({ at, onChange }: { at: number; onChange: (i: number) => void }) {
  return (
    <div class="switch" role="group" aria-label="Time span">
      {spans.map(([name], i) => (
        <button key={name} type="button" aria-pressed={i === at} onClick={() => onChange(i)}>
          {name}
        </button>
      ))}
    </div>
  );
}

export function loadActivity(span: number, keyID?: string) {
  const [, seconds, step] = spans[span]!;
  return (signal: AbortSignal) =>
    api<Activity>("/api/activity" + query({ key_id: keyID, step, since: new Date(Date.now() - seconds * 1000 + step * 1000).toISOString() }), { signal });
}

export function Overview() {
  const [span, setSpan] = useState(0);
  const activity = useLoad(`activity ${span}`, loadActivity(span), 10);
  const alerts = useLoad("open alerts", (signal) => api<{ alerts: Alert[]; has_more: boolean }>("/api/alerts?state=open&limit=8", { signal }), 15);
  return (
    <Page title="Overview" name="Overview" aside={<SpanSwitch at={span} onChange={setSpan} />}>
      <Show of={activity}>
        {(a) => (
          <>
            <Figures of={a} />
            <section aria-label="Events by severity">
              <ActivityChart of={a} label={`Events in the last ${spans[span]![0]}`} height={240} />
            </section>
          </>
        )}
      </Show>
      <section>
        <h2>Open alerts</h2>
        <Show of={alerts}>
          {({ alerts, has_more }) =>
            alerts.length === 0 ? (
              <Empty title="Nothing is open." />
            ) : (
              <>
                <AlertTable alerts={alerts} />
                {has_more && (
                  <p>
                    <a href="#/alerts">All open alerts</a>
                  </p>
                )}
              </>
            )
          }
        </Show>
      </section>
    </Page>
  );
}

function Figures({ of }: { of: Activity }) {
  const sum = (f: (s: Activity["activity"][number]) => number) => of.activity.reduce((n, s) => n + f(s), 0);
  const last = Date.parse(of.until) - 60_000 - (Date.parse(of.until) % 60_000);
  const minute = of.step === 60 ? of.activity.find((s) => Date.parse(s.at) === last) : undefined;
  const all: [string, string, string?][] = [
    ["Events", count(sum((s) => s.nominal + s.warning + s.critical))],
    ["Critical", count(sum((s) => s.critical)), "critical"],
    ["Warning", count(sum((s) => s.warning)), "warning"],
    ["Alerts", count(sum((s) => s.alerts))],
  ];
  if (of.step === 60) all.splice(1, 0, ["In the last whole minute", count(minute ? minute.nominal + minute.warning + minute.critical : 0)]);
  return (
    <>
      <dl class="figures">
        {all.map(([name, value, of]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd class={`num ${of ?? ""}`}>{value}</dd>
          </div>
        ))}
      </dl>
      <p class="behind muted" role="status">
        {behind(of.behind_ms)}
      </p>
    </>
  );
}

function behind(ms: number | null): string {
  if (ms === null) return "How far the data is behind is not known.";
  if (ms === 0) return "The data is up to date: everything accepted is counted.";
  return `The data is ${(ms / 1000).toFixed(1)} s behind.`;
}
