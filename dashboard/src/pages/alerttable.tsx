import { count } from "../format";
import { Ago } from "../time";
import type { Alert } from "../types";
import { KeyLink, SeverityTag, StateTag } from "../ui";

export function AlertTable({ alerts, ofKey = false }: { alerts: Alert[]; ofKey?: boolean }) {
  return (
    <div class="scroll">
      <table class="rows">
        <thead>
          <tr>
            <th scope="col">Severity</th>
            <th scope="col">Alert</th>
            {!ofKey && <th scope="col">Key</th>}
            <th scope="col">State</th>
            <th scope="col" class="num">
              Hits
            </th>
            <th scope="col">Raised</th>
            <th scope="col">Last hit</th>
          </tr>
        </thead>
        <tbody>
          {alerts.map((a) => (
            <tr key={a.id} class={a.severity}>
              <td>
                <SeverityTag of={a.severity} />
              </td>
              <td class="wide">
                <a href={`#/alerts/${a.id}`}>{a.message}</a>
              </td>
              {!ofKey && (
                <td>
                  <KeyLink id={a.key_id} />
                </td>
              )}
              <td>
                <StateTag of={a.state} />
              </td>
              <td class="num" data-label="Hits">{count(a.hits)}</td>
              <td class="nowrap" data-label="Raised">
                <Ago at={a.raised_at} />
              </td>
              <td class="nowrap" data-label="Last hit">
                <Ago at={a.last_at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
