import { Component } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, query } from "../api";
import { count, plural } from "../format";
import type { Route } from "../hooks";
import { type Gap, type State, watch } from "../stream";
import { Clock } from "../time";
import type { Alert, Event } from "../types";
import { Empty, KeyLink, Page, SeverityTag } from "../ui";
import { EventDrawer } from "./event";
import { Filters, filterNames } from "./filters";

// A row of the tail. Its number makes it this row and no other.
type Row = { n: number } & ({ kind: "event"; event: Event } | { kind: "alert"; alert: Alert } | { kind: "gap"; gap: Gap });

const shown = 200; // rows; older ones go
const kept = 1000; // rows that wait while the tail is paused

const nothing = { events: 0, unlisted: 0, alertsUnlisted: 0 };

let numbers = 0;

export function Live({ route }: { route: Route }) {
  const filter = useMemo(() => query(Object.fromEntries([...route.params].filter(([name]) => filterNames.includes(name) || name.startsWith("details.")))), [route.params.toString()]);
  const [state, setState] = useState<State>({ is: "connecting" });
  const [rows, setRows] = useState<Row[]>([]);
  const [waiting, setWaiting] = useState<Row[]>([]);
  const [seen, setSeen] = useState(nothing);
  const [rate, setRate] = useState(0);
  const [paused, setPaused] = useState(false);
  const [open, setOpen] = useState<Event>();
  const pausedNow = useRef(paused);
  pausedNow.current = paused;

  useEffect(() => {
    const stop = new AbortController();
    setRows([]);
    setWaiting([]);
    setSeen(nothing);
    setPaused(false);
    api<{ events: Event[] }>("/api/events" + (filter ? filter + "&" : "?") + "limit=50", { signal: stop.signal }).then(
      ({ events }) => setRows((now) => [...now, ...events.filter((e) => !now.some((r) => r.kind === "event" && r.event.id === e.id)).map((event): Row => ({ n: ++numbers, kind: "event", event }))].slice(0, shown)),
      () => {}, // the stream says what is wrong
    );
    let recent: [number, number][] = [];
    const leave = watch(filter, {
      onState: setState,
      onFrames: (frames, events, alerts) => {
        const now = Date.now();
        recent = [...recent.filter(([at]) => now - at < 3000), [now, events]];
        setRate(recent.reduce((n, [, k]) => n + k, 0) / 3);
        const fresh = frames.map((f): Row => ({ n: ++numbers, ...f })).reverse();
        const listed = (kind: string) => fresh.filter((r) => r.kind === kind).length;
        setSeen((s) => ({ events: s.events + events, unlisted: s.unlisted + events - listed("event"), alertsUnlisted: s.alertsUnlisted + alerts - listed("alert") }));
        if (pausedNow.current) setWaiting((w) => [...fresh, ...w].slice(0, kept));
        else setRows((r) => [...fresh, ...r].slice(0, shown));
      },
    });
    const calm = setInterval(() => {
      const now = Date.now();
      recent = recent.filter(([at]) => now - at < 3000);
      setRate(recent.reduce((n, [, k]) => n + k, 0) / 3);
    }, 1000);
    return () => {
      stop.abort();
      leave();
      clearInterval(calm);
    };
  }, [filter]);

  const resume = () => {
    setRows((r) => [...waiting, ...r].slice(0, shown));
    setWaiting([]);
    setPaused(false);
  };
  return (
    <Page title="Live" name="Live" aside={<Connection of={state} rate={rate} />}>
      <Filters params={route.params} />
      <div class="tools" role="status" aria-live="off">
        <button type="button" class={paused ? "primary" : ""} aria-pressed={paused} onClick={() => (paused ? resume() : setPaused(true))}>
          {paused ? `Resume${waiting.length ? ` · ${count(waiting.length)}${waiting.length === kept ? "+" : ""} waiting` : ""}` : "Pause"}
        </button>
        <span class="muted num" id="live-count">
          {plural(seen.events, "event")} since this page was opened
          {seen.unlisted > 0 && `; a sample is shown: ${count(seen.unlisted)} are not listed`}
          {seen.alertsUnlisted > 0 && `; nor are ${plural(seen.alertsUnlisted, "alert")}`}
        </span>
      </div>
      {rows.length === 0 ? (
        <Empty title={filter ? "No event has passed this filter yet." : "No event has come yet."}>
          <p>Events appear here a moment after they are accepted.</p>
          {!filter && (
            <pre class="json" tabIndex={0} aria-label="A request that sends an event">
              {`curl -sS ${location.origin}/api/events \\\n  -H "Authorization: Bearer $KEYPULSE_API_KEY" -H "Content-Type: application/json" \\\n  -d '{"key_id": "signing-key-01", "event_type": "signing_request", "severity": "nominal"}'`}
            </pre>
          )}
        </Empty>
      ) : (
        <div class="scroll">
          <table class="rows tail">
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col">Severity</th>
                <th scope="col" class="num">
                  Score
                </th>
                <th scope="col">Type</th>
                <th scope="col">Key</th>
                <th scope="col">Actor</th>
                <th scope="col">Address</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((r) => (
                <TailRow key={r.n} row={r} onOpen={setOpen} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {open && <EventDrawer event={open} onClose={() => setOpen(undefined)} />}
    </Page>
  );
}

function Connection({ of, rate }: { of: State; rate: number }) {
  const words: Record<State["is"], string> = { connecting: "Connecting…", live: "Live", waiting: "Reconnecting…", refused: "Refused", ended: "Ended" };
  return (
    <span class={`connection ${of.is}`} role="status" title={"why" in of ? of.why : undefined}>
      <span class="lamp" aria-hidden="true" />
      {words[of.is]}
      {of.is === "live" && <span class="muted num"> {rate < 10 ? rate.toFixed(1) : count(Math.round(rate))} events/s</span>}
      {of.is === "refused" && <span class="error"> {of.why}</span>}
    </span>
  );
}

// TailRow is made once: a row never changes, and many come.
class TailRow extends Component<RowProps> {
  override shouldComponentUpdate() {
    return false;
  }
  override render() {
    return <RowOf {...this.props} />;
  }
}

interface RowProps {
  row: Row;
  onOpen: (e: Event) => void;
}

function RowOf({ row, onOpen }: RowProps) {
  if (row.kind === "gap") return <GapRow gap={row.gap} />;
  if (row.kind === "alert") {
    const a = row.alert;
    return (
      <tr class={`alert ${a.severity}`}>
        <td>
          <Clock at={a.raised_at} />
        </td>
        <td>
          <SeverityTag of={a.severity} />
        </td>
        <td class="num" />
        <td class="strong">Alert</td>
        <td>
          <KeyLink id={a.key_id} />
        </td>
        <td colSpan={2}>
          <a href={`#/alerts/${a.id}`}>{a.message}</a>
        </td>
      </tr>
    );
  }
  const e = row.event;
  return (
    <tr class={e.severity} onClick={(c) => !(c.target as Element).closest("a") && onOpen(e)}>
      <td>
        <button type="button" class="plain" onClick={(c) => (c.stopPropagation(), onOpen(e))}>
          <span class="hidden">Open event {e.id} of </span>
          <Clock at={e.created_at} />
        </button>
      </td>
      <td>
        <SeverityTag of={e.severity} />
      </td>
      <td class={`num ${e.score >= 40 ? "strong" : ""}`} data-label="Score">
        {e.score}
      </td>
      <td>{e.event_type}</td>
      <td>
        <KeyLink id={e.key_id} />
      </td>
      <td class="clip">{e.actor}</td>
      <td class="num">{e.source_ip}</td>
    </tr>
  );
}

function GapRow({ gap }: { gap: Gap }) {
  const why = { slow: "this browser did not read fast enough", too_far: "the last place is too far back", expired: "they have expired" };
  return (
    <tr class="gap">
      <td colSpan={7}>
        {gap.at_most && "at most "}
        {plural(gap.missed, "row")} left out here: {why[gap.reason]}
      </td>
    </tr>
  );
}
