import { useState } from "preact/hooks";
import { api, Failure } from "../api";
import { useLoad } from "../hooks";
import { Ago } from "../time";
import type { APIKey } from "../types";
import { Copy, Empty, Page, Show, Trouble } from "../ui";

const path = "/api/session/api-keys";
const scopes: [string, string][] = [
  ["ingest", "send events"],
  ["read", "read everything"],
  ["rules", "change rules and alerts"],
  ["admin", "manage API keys"],
];

export function APIKeys({ may, own }: { may: boolean; own: string }) {
  if (!may) {
    return (
      <Page title="API keys" name="API keys">
        <Empty title="Only an owner manages API keys.">
          <p>
            Sign in with an API key that has the scope “admin”. The installation's operator makes one with <code>keypulse apikey create --scopes read,rules,admin</code>.
          </p>
        </Empty>
      </Page>
    );
  }
  return <Managed own={own} />;
}

function Managed({ own }: { own: string }) {
  const list = useLoad("api keys", (signal) => api<{ api_keys: APIKey[]; has_more: boolean }>(path + "?limit=500", { signal }), 30);
  const [made, setMade] = useState<APIKey>();
  const [failure, setFailure] = useState<Failure>();
  const change = async (f: () => Promise<APIKey>) => {
    setFailure(undefined);
    try {
      const key = await f();
      if (key.api_key) setMade(key);
      list.reload();
      return true;
    } catch (e) {
      setFailure(e as Failure);
      return false;
    }
  };
  return (
    <Page title="API keys" name="API keys">
      {made?.api_key && <Secret of={made} onClose={() => setMade(undefined)} />}
      {failure && <Trouble of={failure} />}
      <Show of={list}>
        {({ api_keys, has_more }) => (
          <div class="scroll">
            {has_more && <p class="muted">The oldest 500 are shown.</p>}
            <table class="rows">
              <thead>
                <tr>
                  <th scope="col">Name</th>
                  <th scope="col">Scopes</th>
                  <th scope="col" class="num">
                    Limit / min
                  </th>
                  <th scope="col">Status</th>
                  <th scope="col">Made</th>
                  <th scope="col">Last used</th>
                  <th scope="col">Actions</th>
                </tr>
              </thead>
              <tbody>
                {api_keys.map((k) => (
                  <KeyRow key={k.id} of={k} own={k.id === own} change={change} />
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Show>
      <section>
        <h2>Make an API key</h2>
        <NewKey change={change} />
      </section>
    </Page>
  );
}

// Secret shows a key, which nobody can show again.
function Secret({ of, onClose }: { of: APIKey; onClose: () => void }) {
  return (
    <section class="secret" role="status" aria-label="The new key">
      <p>
        The key of <b>{of.name}</b>. It is shown only now: keep it where secrets are kept.
      </p>
      <p class="buttons">
        <code>{of.api_key}</code>
        <Copy text={of.api_key!} />
        <button type="button" class="quiet" onClick={onClose}>
          I have it
        </button>
      </p>
    </section>
  );
}

type Change = (f: () => Promise<APIKey>) => Promise<boolean>;

function KeyRow({ of: k, own, change }: { of: APIKey; own: boolean; change: Change }) {
  const [asked, setAsked] = useState<"rotate" | "revoke">();
  const [overlap, setOverlap] = useState(86_400);
  const at = `${path}/${encodeURIComponent(k.id)}`;
  const over = k.status === "revoked";
  return (
    <tr class={over ? "over" : ""}>
      <td class="wide">
        {k.name} {own && <span class="muted small">this session's</span>}
        <div class="muted small">{k.id}</div>
      </td>
      <td>{k.scopes.join(", ")}</td>
      <td class="num" data-label="Limit">{k.rate_limit === 0 ? "none" : k.rate_limit}</td>
      <td>
        {k.status}
        {k.expires_at && (
          <div class="muted small">
            until <Ago at={k.expires_at} />
          </div>
        )}
        {k.previous_until && Date.parse(k.previous_until) > Date.now() && (
          <div class="muted small">
            its old key ends <Ago at={k.previous_until} />
          </div>
        )}
      </td>
      <td class="nowrap" data-label="Made">
        <Ago at={k.created_at} />
      </td>
      <td class="nowrap" data-label="Last used">
        <Ago at={k.last_used} />
      </td>
      <td>
        {over ? null : asked === "revoke" ? (
          <span class="buttons">
            <button type="button" class="danger" onClick={() => change(() => api(at + "/revoke", { method: "POST" })).then(() => setAsked(undefined))}>
              Revoke for good
            </button>
            <button type="button" class="quiet" onClick={() => setAsked(undefined)}>
              Keep it
            </button>
          </span>
        ) : asked === "rotate" ? (
          <span class="buttons">
            <select aria-label="For how long the old key works beside the new one" value={overlap} onChange={(e) => setOverlap(Number(e.currentTarget.value))}>
              <option value={0}>old key ends at once</option>
              <option value={3600}>old key works 1 h more</option>
              <option value={86_400}>old key works 1 day more</option>
              <option value={604_800}>old key works 7 days more</option>
            </select>
            <button
              type="button"
              class="primary"
              onClick={() => change(() => api(at + "/rotate", { method: "POST", body: { overlap_seconds: overlap } })).then(() => setAsked(undefined))}
            >
              Rotate
            </button>
            <button type="button" class="quiet" onClick={() => setAsked(undefined)}>
              Cancel
            </button>
          </span>
        ) : (
          <span class="buttons">
            <button type="button" aria-label={`Rotate ${k.name}`} onClick={() => setAsked("rotate")}>
              Rotate
            </button>
            <button type="button" aria-label={`Revoke ${k.name}`} onClick={() => setAsked("revoke")}>
              Revoke
            </button>
          </span>
        )}
      </td>
    </tr>
  );
}

function NewKey({ change }: { change: Change }) {
  const submit = async (e: SubmitEvent) => {
    e.preventDefault();
    const form = e.target as HTMLFormElement;
    const data = new FormData(form);
    const ok = await change(() =>
      api<APIKey>(path, {
        method: "POST",
        body: { name: String(data.get("name")).trim(), scopes: data.getAll("scope"), rate_limit: Number(data.get("rate_limit")) },
      }),
    );
    if (ok) form.reset();
  };
  return (
    <form class="stack" onSubmit={submit}>
      <label class="field">
        <span>Name</span>
        <input name="name" required maxLength={256} placeholder="signer in Frankfurt" />
      </label>
      <fieldset>
        <legend>It may</legend>
        {scopes.map(([scope, what]) => (
          <label key={scope} class="check">
            <input type="checkbox" name="scope" value={scope} defaultChecked={scope === "ingest"} /> {what} <code>{scope}</code>
          </label>
        ))}
      </fieldset>
      <label class="field">
        <span>Requests in any 60 s; 0 is no limit</span>
        <input name="rate_limit" type="number" min={0} defaultValue="100" required />
      </label>
      <div>
        <button type="submit" class="primary">
          Make it
        </button>
      </div>
    </form>
  );
}
