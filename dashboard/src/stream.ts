import { away, endsSession, Failure, failureOf } from "./api";
import type { Alert, Event } from "./types";

// Gap says that the server left frames out.
export interface Gap {
  missed: number;
  at_most: boolean;
  reason: "slow" | "too_far" | "expired";
}

export type Frame = { kind: "event"; event: Event } | { kind: "alert"; alert: Alert } | { kind: "gap"; gap: Gap };

export type State = { is: "connecting" } | { is: "live" } | { is: "waiting"; until: number; why: string } | { is: "refused"; why: string } | { is: "ended" };

interface Watcher {
  onState(s: State): void;
  // onFrames gets what has come since the last call: how many events and alerts, and those frames that are shown. All gaps
  // are; of events and alerts at most so many as can be read.
  onFrames(frames: Frame[], events: number, alerts: number): void;
}

const flushEvery = 200; // ms
const eventsShown = 20; // in one flush; more become a sample
const alertsShown = 10; // the same
const mostWaiting = 5000; // frames
const longestWait = 15_000;

// watch follows the stream until the returned function is called. It connects again by itself, from the last frame on, so
// that nothing is missed but what a gap frame tells.
export function watch(query: string, to: Watcher): () => void {
  const stop = new AbortController();
  let last = "";
  let texts: string[] = []; // frames as they came, since the last flush
  const flush = () => {
    if (texts.length === 0) return;
    const got = texts;
    texts = [];
    const isEvent = (text: string) => text.startsWith("event: event\n");
    const isAlert = (text: string) => text.startsWith("event: alert\n");
    const events = sampler(got, isEvent, eventsShown);
    const alerts = sampler(got, isAlert, alertsShown);
    const frames: Frame[] = [];
    for (const text of got) {
      if (isEvent(text) ? !events.takes() : isAlert(text) && !alerts.takes()) continue;
      const frame = parse(text);
      if (frame) frames.push(frame);
    }
    to.onFrames(frames, events.all, alerts.all);
  };
  const timer = setInterval(flush, flushEvery);

  const connect = async () => {
    for (let failures = 0; !stop.signal.aborted; failures++) {
      to.onState({ is: "connecting" });
      let failure: Failure;
      try {
        const response = await fetch("/api/stream" + query, { signal: stop.signal, headers: last ? { "Last-Event-ID": last } : {} });
        if (response.ok && response.body) {
          failures = 0;
          await read(response.body, () => to.onState({ is: "live" }), (text, id) => {
            texts.push(text);
            if (id) last = id;
            if (texts.length >= mostWaiting) flush(); // timers are slow while the page is hidden
          });
          failure = new Failure(0, "ended", "The connection ended.");
        } else {
          failure = await failureOf(response);
        }
      } catch {
        failure = away();
      }
      if (stop.signal.aborted) return;
      flush();
      if (endsSession(failure)) return to.onState({ is: "ended" });
      if (failure.status === 400 && last !== "") {
        last = ""; // the log was made anew: its old places mean nothing
      } else if (failure.status >= 400 && failure.status < 500 && failure.status !== 429) {
        return to.onState({ is: "refused", why: failure.message });
      }
      const wait = failure.retryAfter * 1000 || Math.min(250 * 2 ** failures, longestWait) * (0.75 + Math.random() / 2);
      to.onState({ is: "waiting", until: Date.now() + wait, why: failure.message });
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  };
  void connect();
  return () => {
    stop.abort();
    clearInterval(timer);
  };
}

// sampler takes some of those texts that are of a kind, evenly.
function sampler(texts: string[], is: (text: string) => boolean, most: number) {
  const all = texts.reduce((n, text) => n + (is(text) ? 1 : 0), 0);
  const step = Math.max(1, all / most);
  let seen = 0;
  let next = 0;
  const takes = () => {
    if (seen++ < next) return false;
    next += step;
    return true;
  };
  return { all, takes };
}

// read hands out frames as text, each with its id, until the connection ends.
async function read(body: ReadableStream<Uint8Array>, begun: () => void, each: (text: string, id: string) => void) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    begun();
    begun = () => {};
    rest += decoder.decode(value, { stream: true });
    let from = 0;
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n", from)) {
      const text = rest.slice(from, end);
      from = end + 2;
      if (text.startsWith(":")) continue;
      const at = text.indexOf("\nid: ");
      each(text, at < 0 ? "" : text.slice(at + 5, text.indexOf("\n", at + 5)));
    }
    rest = rest.slice(from);
  }
}

function parse(text: string): Frame | undefined {
  const at = text.indexOf("\ndata: ");
  if (at < 0) return undefined;
  const data = JSON.parse(text.slice(at + 7));
  switch (text.slice(7, text.indexOf("\n"))) {
    case "event":
      return { kind: "event", event: data };
    case "alert":
      return { kind: "alert", alert: data };
    case "gap":
      return { kind: "gap", gap: data };
  }
  return undefined; // a kind that this page does not know yet
}
