import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Failure } from "./api";

// Route is the part of the address behind the #: a path and parameters.
export interface Route {
  path: string[];
  params: URLSearchParams;
}

export function readRoute(): Route {
  const [path = "", params = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decode), params: new URLSearchParams(params) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function useRoute(): Route {
  const [route, setRoute] = useState(readRoute);
  useEffect(() => {
    const read = () => setRoute(readRoute());
    addEventListener("hashchange", read);
    return () => removeEventListener("hashchange", read);
  }, []);
  return route;
}

export interface Loaded<T> {
  data: T | undefined;
  failure: Failure | undefined; // of the last try; the data before it stay
  at: number; // when data came
  reload: () => void;
}

// useLoad loads something, and again every so many seconds while the page can be seen. A failure is retried when the server
// says so. Whatever identifies what is loaded is in key: another one begins anew.
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>, every = 0): Loaded<T> {
  const [state, setState] = useState<{ key: string; data?: T; failure?: Failure; at: number }>({ key, at: 0 });
  const [turn, setTurn] = useState(0);
  const current = useRef(load);
  current.current = load;
  useEffect(() => {
    const stop = new AbortController();
    let timer = 0;
    const again = (seconds: number) => {
      clearTimeout(timer);
      if (seconds > 0) timer = setTimeout(run, seconds * 1000);
    };
    const run = async () => {
      if (document.hidden && every > 0) return; // onVisible goes on
      try {
        const data = await current.current(stop.signal);
        if (stop.signal.aborted) return;
        setState({ key, data, at: Date.now() });
        again(every);
      } catch (e) {
        if (stop.signal.aborted) return;
        const failure = e instanceof Failure ? e : new Failure(0, "bug", String(e));
        setState((s) => ({ key, data: s.key === key ? s.data : undefined, failure, at: s.at }));
        again(failure.retryAfter || (failure.status === 0 || failure.status >= 500 ? 3 : every));
      }
    };
    const onVisible = () => {
      if (!document.hidden && every > 0) void run();
    };
    document.addEventListener("visibilitychange", onVisible);
    void run();
    return () => {
      stop.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", onVisible);
    };
  }, [key, turn, every]);
  const reload = useCallback(() => setTurn((n) => n + 1), []);
  const own = state.key === key;
  return { data: own ? state.data : undefined, failure: own ? state.failure : undefined, at: state.at, reload };
}

// useDebounced is value as it was when it last stood still for so many milliseconds.
export function useDebounced<T>(value: T, ms: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}
