import { api } from "../api";
import { bytes, compact, micros } from "../format";
import { useLoad } from "../hooks";
import { Ago } from "../time";
import type { Rule } from "../types";
import { Empty, Page, SeverityTag, Show } from "../ui";

export function Rules({ may }: { may: boolean }) {
  const list = useLoad("rules", (signal) => api<{ rules: Rule[] }>("/api/rules", { signal }), 15);
  return (
    <Page
      title="Rules"
      name="Rules"
      aside={
        may && (
          <a class="button primary" href="#/rules/new">
            New rule
          </a>
        )
      }
    >
      <Show of={list}>
        {({ rules }) =>
          rules.length === 0 ? (
            <Empty title="There are no rules yet.">
              <p>A rule is an expression over an event and its key's history. When it holds, it raises an alert.</p>
            </Empty>
          ) : (
            <RuleTable rules={rules} />
          )
        }
      </Show>
    </Page>
  );
}

function RuleTable({ rules }: { rules: Rule[] }) {
  const counted = rules.some((r) => r.hits !== undefined);
  return (
    <div class="scroll">
      <table class="rows">
        <thead>
          <tr>
            <th scope="col">Rule</th>
            <th scope="col">Severity</th>
            <th scope="col" class="num">
              Score
            </th>
            <th scope="col">Mode</th>
            {counted && (
              <th scope="col" class="num">
                Hits
              </th>
            )}
            <th scope="col" class="num" title="For one event, and memory for one key, in the worst case">
              Cost
            </th>
            <th scope="col">Changed</th>
          </tr>
        </thead>
        <tbody>
          {rules.map((r) => (
            <tr key={r.id}>
              <td class="wide">
                <a href={`#/rules/${r.id}`}>{r.name}</a>
                <div class="muted small code">{r.when}</div>
              </td>
              <td>
                <SeverityTag of={r.severity} />
              </td>
              <td class="num" data-label="Score">{r.score}</td>
              <td>{!r.enabled ? <span class="muted">off</span> : r.mode}</td>
              {counted && (
                <td class="num" data-label="Hits">
                  {r.mode === "shadow" ? compact(r.shadow_hits ?? 0) : <a href={`#/alerts?state=all&rule=${r.id}`}>{compact(r.hits ?? 0)}</a>}
                  {!!r.rule_errors && <div class="critical small">{compact(r.rule_errors)} errors</div>}
                </td>
              )}
              <td class="num nowrap" data-label="Cost">
                {r.worst_micros !== undefined && (
                  <>
                    {micros(r.worst_micros)} <span class="muted">{bytes(r.worst_bytes ?? 0)}</span>
                  </>
                )}
              </td>
              <td class="nowrap" data-label="Changed">
                <Ago at={r.created_at} /> <span class="muted">v{r.version}</span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
