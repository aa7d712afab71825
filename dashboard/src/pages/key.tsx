import { useState } from "preact/hooks";
import { api, query } from "../api";
import { ActivityChart } from "../chart";
import { count } from "../format";
import { useLoad } from "../hooks";
import { Ago } from "../time";
import type { Alert, Event, KeyPage, Top } from "../types";
import { Empty, Page, SeverityTag, Show } from "../ui";
import { AlertTable } from "./alerttable";
import { EventDrawer } from "./event";
import { Risk } from "./keys";
import { loadActivity, spans, SpanSwitch } from "./overview";

export function KeyView({ id }: { id: string }) {
  const [span, setSpan] = useState(2);
  const [open, setOpen] = useState<Event>();
  const key = useLoad("key", (signal) => api<KeyPage>(`/api/keys/${encodeURIComponent(id)}`, { signal }), 15);
  const activity = useLoad(`activity ${span}`, loadActivity(span, id), 15);
  const alerts = useLoad("alerts", (signal) => api<{ alerts: Alert[] }>("/api/alerts" + query({ key_id: id, limit: 20 }), { signal }), 15);
  const events = useLoad("events", (signal) => api<{ events: Event[] }>("/api/events" + query({ key_id: id, limit: 20 }), { signal }), 15);
  return (
    <Page
      title={
        <>
          <a href="#/keys">Keys</a> <span class="muted">/</span> <span class="id">{key.data?.name ?? id}</span>
        </>
      }
      name={id}
      aside={<a href={"#/live" + query({ key_id: id })}>Watch it live</a>}
    >
      <Show of={key}>
        {(k) => (
          <dl class="figures">
            <Figure name="Risk">
              <Risk of={k.risk_score} />
            </Figure>
            <Figure name="Open alerts">{count(k.open_alerts)}</Figure>
            <Figure name="Events">{count(k.event_count)}</Figure>
            <Figure name="First seen">
              <Ago at={k.first_activity} />
            </Figure>
            <Figure name="Last activity">
              <Ago at={k.last_activity} />
            </Figure>
            <Figure name="Type">{k.key_type}</Figure>
            <Figure name="Status">{k.status}</Figure>
            {k.rotation_period && <Figure name="Rotation">every {k.rotation_period}</Figure>}
            {k.tags.length > 0 && <Figure name="Tags">{k.tags.join(", ")}</Figure>}
          </dl>
        )}
      </Show>
      <section>
        <header class="head">
          <h2>Timeline</h2>
          <SpanSwitch at={span} onChange={setSpan} />
        </header>
        <Show of={activity}>{(a) => <ActivityChart of={a} label={`Events of this key in the last ${spans[span]![0]}`} />}</Show>
      </section>
      <section>
        <h2>Alerts</h2>
        <Show of={alerts}>{({ alerts }) => (alerts.length === 0 ? <Empty title="It has raised none." /> : <AlertTable alerts={alerts} ofKey />)}</Show>
      </section>
      {key.data && (
        <section class="columns">
          <TopList title="Actors" of={key.data.actors} />
          <TopList title="Addresses" of={key.data.source_ips} />
          <TopList title="Types" of={key.data.event_types} />
        </section>
      )}
      <section>
        <h2>Latest events</h2>
        <Show of={events}>{({ events }) => <EventTable events={events} onOpen={setOpen} />}</Show>
      </section>
      {open && <EventDrawer event={open} onClose={() => setOpen(undefined)} />}
    </Page>
  );
}

function Figure(props: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd class="num">{props.children}</dd>
    </div>
  );
}

function TopList({ title, of }: { title: string; of: Top[] }) {
  const most = Math.max(1, ...of.map((t) => t.event_count));
  return (
    <div>
      <h2>
        {title} <span class="muted small">30 days</span>
      </h2>
      {of.length === 0 ? (
        <p class="muted">None were named.</p>
      ) : (
        <ol class="top">
          {of.map((t) => (
            <li key={t.name}>
              <span class="clip">{t.name}</span>
              <span class="num">{count(t.event_count)}</span>
              <meter min={0} max={most} value={t.event_count} aria-label={`${t.name}: ${t.event_count} events`} />
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}

function EventTable({ events, onOpen }: { events: Event[]; onOpen: (e: Event) => void }) {
  if (events.length === 0) return <Empty title="It has none." />;
  return (
    <div class="scroll">
      <table class="rows">
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">Severity</th>
            <th scope="col" class="num">
              Score
            </th>
            <th scope="col">Type</th>
            <th scope="col">Actor</th>
            <th scope="col">Address</th>
          </tr>
        </thead>
        <tbody>
          {events.map((e) => (
            <tr key={e.id} class={e.severity} onClick={() => onOpen(e)}>
              <td class="nowrap">
                <button type="button" class="plain" onClick={(c) => (c.stopPropagation(), onOpen(e))}>
                  <span class="hidden">Open event {e.id} of </span>
                  <Ago at={e.created_at} />
                </button>
              </td>
              <td>
                <SeverityTag of={e.severity} />
              </td>
              <td class="num" data-label="Score">
                {e.score}
              </td>
              <td>{e.event_type}</td>
              <td class="clip">{e.actor}</td>
              <td class="num">{e.source_ip}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
