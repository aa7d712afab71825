import { useState } from "preact/hooks";
import { api, Failure } from "../api";
import type { Session } from "../types";
import { ThemeSwitch } from "../theme";

export function SignIn({ ended, onSession }: { ended: boolean; onSession: (s: Session) => void }) {
  const [failure, setFailure] = useState<Failure>();
  const [busy, setBusy] = useState(false);
  const submit = async (e: SubmitEvent) => {
    e.preventDefault();
    const field = (e.target as HTMLFormElement).elements.namedItem("api_key") as HTMLInputElement;
    setBusy(true);
    setFailure(undefined);
    try {
      onSession(await api<Session>("/api/session", { method: "POST", body: { api_key: field.value.trim() } }));
    } catch (f) {
      setFailure(f as Failure);
      field.select();
    } finally {
      setBusy(false);
    }
  };
  return (
    <main id="main" class="signin">
      <h1>KeyPulse</h1>
      <p class="muted">What happens to your signing keys, live.</p>
      <form onSubmit={submit}>
        {ended && !failure && <p role="status">Your session has ended. Sign in again.</p>}
        <label for="api_key">API key</label>
        <input
          id="api_key"
          name="api_key"
          type="password"
          autocomplete="current-password"
          placeholder="kp_live_…"
          required
          autoFocus
          spellcheck={false}
          aria-describedby={failure ? "why" : undefined}
          aria-invalid={failure ? "true" : undefined}
        />
        {failure && (
          <p id="why" class="error" role="alert">
            {words(failure)}
          </p>
        )}
        <button type="submit" class="primary" disabled={busy}>
          Sign in
        </button>
      </form>
      <p class="muted small">
        The key stays in a cookie that no script can read, for 12 hours. A new installation prints its first key when it starts; others are made
        with <code>keypulse apikey create</code>.
      </p>
      <p class="muted small foot">
        <a href="/docs">The API</a>
        <ThemeSwitch />
      </p>
    </main>
  );
}

function words(f: Failure): string {
  if (f.status === 401) return "This is no API key that exists here. Is all of it there?";
  return f.message;
}
