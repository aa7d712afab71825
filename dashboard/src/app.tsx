import { useEffect, useState } from "preact/hooks";
import { api, Failure, onSignedOut } from "./api";
import { type Route, useLoad, useRoute } from "./hooks";
import { Alerts } from "./pages/alerts";
import { APIKeys } from "./pages/apikeys";
import { KeyView } from "./pages/key";
import { Keys } from "./pages/keys";
import { Live } from "./pages/live";
import { Overview } from "./pages/overview";
import { RuleEditor } from "./pages/rule";
import { Rules } from "./pages/rules";
import { SignIn } from "./pages/signin";
import { ThemeSwitch } from "./theme";
import type { Alert, Session } from "./types";
import { Empty, Loading, Page, Trouble } from "./ui";

export function App() {
  const [session, setSession] = useState<Session | "none" | "asking">("asking");
  const [failure, setFailure] = useState<Failure>();
  const [ended, setEnded] = useState(false);
  const ask = () => {
    setFailure(undefined);
    api<Session>("/api/session").then(setSession, (f: Failure) => {
      if (f.status === 401 || f.status === 403) setSession("none");
      else setFailure(f);
    });
  };
  useEffect(() => {
    onSignedOut(() => {
      setEnded(true);
      setSession("none");
    });
    ask();
  }, []);
  if (failure) return <Trouble of={failure} again={ask} />;
  if (session === "asking") return <Loading />;
  if (session === "none") {
    return (
      <SignIn
        ended={ended}
        onSession={(s) => {
          setEnded(false);
          setSession(s);
        }}
      />
    );
  }
  return <Shell session={session} onSignOut={() => setSession("none")} />;
}

const places = [
  ["live", "Live"],
  ["alerts", "Alerts"],
  ["keys", "Keys"],
  ["rules", "Rules"],
  ["overview", "Overview"],
  ["api-keys", "API keys"],
] as const;

function Shell({ session, onSignOut }: { session: Session; onSignOut: () => void }) {
  const route = useRoute();
  const at = route.path[0] ?? "live";
  const open = useLoad("open", (signal) => api<{ alerts: Alert[]; has_more: boolean }>("/api/alerts?state=open&limit=99", { signal }), 30);
  // On a telephone the pages do not all fit: the one that is shown comes into view.
  useEffect(() => document.querySelector(".bar [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }), [at]);
  const signOut = async () => {
    await api("/api/session", { method: "DELETE" });
    onSignOut();
  };
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => (e.preventDefault(), document.getElementById("main")?.querySelector("h1")?.focus())}>
        Skip to the content
      </a>
      <header class="bar">
        <a class="brand" href="#/live">
          KeyPulse
        </a>
        <nav aria-label="Pages">
          {places.map(([path, name]) => (
            <a key={path} href={`#/${path}`} aria-current={at === path ? "page" : undefined}>
              {name}
              {path === "alerts" && !!open.data?.alerts.length && (
                <span class="badge" title="open alerts">
                  {open.data.alerts.length}
                  {open.data.has_more && "+"}
                  <span class="hidden"> open</span>
                </span>
              )}
            </a>
          ))}
        </nav>
        <div class="who">
          <span class="muted" title={`API key ${session.api_key_id}, scopes: ${session.scopes.join(", ")}`}>
            {session.tenant} · {session.name}
          </span>
          <ThemeSwitch />
          <button type="button" class="quiet" onClick={signOut}>
            Sign out
          </button>
        </div>
      </header>
      <Content route={route} session={session} onAlerts={open.reload} />
    </>
  );
}

function Content({ route, session, onAlerts }: { route: Route; session: Session; onAlerts: () => void }) {
  const [at = "live", id] = route.path;
  const may = (scope: string) => session.scopes.includes(scope);
  if (at === "api-keys") return <APIKeys may={may("admin")} own={session.api_key_id} />;
  if (!may("read")) {
    return (
      <Page title="Nothing to see" name="Nothing to see">
        <Empty title="This API key may not read.">
          <p>It lacks the scope “read”. Sign in with another one.</p>
        </Empty>
      </Page>
    );
  }
  switch (at) {
    case "live":
      return <Live route={route} />;
    case "alerts":
      return <Alerts route={route} may={may("rules")} onChange={onAlerts} />;
    case "keys":
      return id === undefined ? <Keys route={route} /> : <KeyView key={id} id={id} />;
    case "rules":
      return id === undefined ? <Rules may={may("rules")} /> : <RuleEditor key={id} id={id} may={may("rules")} />;
    case "overview":
      return <Overview />;
  }
  return (
    <Page title="Not found" name="Not found">
      <Empty title="There is no such page.">
        <p>
          <a href="#/live">Watch the events live</a>
        </p>
      </Empty>
    </Page>
  );
}
