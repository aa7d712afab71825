import { useState } from "preact/hooks";
import { api, query } from "../api";
import { Spark } from "../chart";
import { count } from "../format";
import { type Route, useDebounced, useLoad } from "../hooks";
import { Ago } from "../time";
import type { Key } from "../types";
import { Empty, KeyLink, Page, Show } from "../ui";

interface List {
  keys: Key[];
  next_cursor: string | null;
}

export function Keys({ route }: { route: Route }) {
  const [typed, setTyped] = useState(route.params.get("q") ?? "");
  const q = useDebounced(typed.trim(), 300);
  const [cursors, setCursors] = useState<string[]>([]);
  const cursor = cursors[cursors.length - 1];
  const path = "/api/keys" + query({ q, cursor, limit: 50, activity: "true" });
  const list = useLoad(path, (signal) => api<List>(path, { signal }), 15);
  return (
    <Page
      title="Keys"
      name="Keys"
      aside={
        <label class="field">
          <span class="hidden">Search keys</span>
          <input
            type="search"
            placeholder="Search by name or id"
            value={typed}
            onInput={(e) => {
              setTyped(e.currentTarget.value);
              setCursors([]);
            }}
          />
        </label>
      }
    >
      <Show of={list}>
        {({ keys, next_cursor }) => (
          <>
            {keys.length === 0 ? (
              <Empty title={q ? "No key has this in its name or id." : "There are no keys yet."}>{!q && <p>A key appears with its first event.</p>}</Empty>
            ) : (
              <KeyTable keys={keys} />
            )}
            <p class="pager">
              {cursors.length > 0 && (
                <button type="button" onClick={() => setCursors(cursors.slice(0, -1))}>
                  Previous page
                </button>
              )}
              {next_cursor && (
                <button type="button" onClick={() => setCursors([...cursors, next_cursor])}>
                  Next page
                </button>
              )}
            </p>
          </>
        )}
      </Show>
    </Page>
  );
}

function KeyTable({ keys }: { keys: Key[] }) {
  return (
    <div class="scroll">
      <table class="rows">
        <thead>
          <tr>
            <th scope="col">Key</th>
            <th scope="col">Type</th>
            <th scope="col">Status</th>
            <th scope="col" class="num">
              Risk
            </th>
            <th scope="col" class="num">
              Open alerts
            </th>
            <th scope="col" class="num">
              Events
            </th>
            <th scope="col">24 hours</th>
            <th scope="col">Last activity</th>
          </tr>
        </thead>
        <tbody>
          {keys.map((k) => (
            <tr key={k.key_id}>
              <td class="wide">
                <KeyLink id={k.key_id} name={k.name} />
                {k.name !== k.key_id && <div class="muted small">{k.key_id}</div>}
              </td>
              <td class="muted">{k.key_type}</td>
              <td class="muted">{k.status}</td>
              <td class="num" data-label="Risk">
                <Risk of={k.risk_score} />
              </td>
              <td class="num" data-label="Open alerts">{k.open_alerts > 0 ? <b>{count(k.open_alerts)}</b> : <span class="muted">0</span>}</td>
              <td class="num" data-label="Events">{count(k.event_count)}</td>
              <td>{k.activity && <Spark of={k.activity} label={k.name} />}</td>
              <td class="nowrap">
                <Ago at={k.last_activity} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

// Risk is a score of 0 to 100; above 70 it is critical, above 40 a warning.
export function Risk({ of }: { of: number }) {
  return <span class={of >= 70 ? "critical strong" : of >= 40 ? "warning strong" : of > 0 ? "" : "muted"}>{of.toFixed(1)}</span>;
}
