import { useEffect, useState } from "preact/hooks";

// One clock ticks for all times that are shown.
const listeners = new Set<() => void>();
setInterval(() => {
  if (!document.hidden) for (const f of listeners) f();
}, 5000);

function useTick() {
  const [, tick] = useState(0);
  useEffect(() => {
    const f = () => tick((n) => n + 1);
    listeners.add(f);
    return () => void listeners.delete(f);
  }, []);
}

const units: [number, string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
];

export function duration(seconds: number): string {
  for (const [size, name] of units) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
  }
  return "0 s";
}

export function ago(at: string, now = Date.now()): string {
  const seconds = (now - Date.parse(at)) / 1000;
  if (seconds < -60) return "in " + duration(-seconds);
  return seconds < 5 ? "now" : duration(seconds) + " ago";
}

// Ago is a time as people say it; the exact one is its title.
export function Ago({ at }: { at: string | null }) {
  useTick();
  if (at === null) return <span class="muted">never</span>;
  return (
    <time dateTime={at} title={absolute(at)}>
      {ago(at)}
    </time>
  );
}

const two = (n: number) => String(n).padStart(2, "0");

export function date(at: string): string {
  const d = new Date(at);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

// absolute is the local time, and how far that is from UTC.
export function absolute(at: string): string {
  const off = -new Date(at).getTimezoneOffset();
  const zone = off === 0 ? "UTC" : `UTC${off < 0 ? "-" : "+"}${two(Math.floor(Math.abs(off) / 60))}:${two(Math.abs(off) % 60)}`;
  return `${date(at)} ${clock(at)} ${zone}`;
}

// clock is the local time of day, to the millisecond.
export function clock(at: string): string {
  const d = new Date(at);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

export function Clock({ at }: { at: string }) {
  return (
    <time dateTime={at} title={absolute(at)} class="num">
      {clock(at)}
    </time>
  );
}
