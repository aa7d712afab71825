import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { count } from "./format";
import { colour, onTheme } from "./theme";
import { clock, date } from "./time";
import type { Activity, Step } from "./types";

const names = ["nominal", "warning", "critical"] as const;

// steps fills the steps in which nothing happened.
function filled(of: Activity): Step[] {
  const byTime = new Map(of.activity.map((s) => [Date.parse(s.at), s]));
  const all: Step[] = [];
  for (let t = Date.parse(of.since); t < Date.parse(of.until); t += of.step * 1000) {
    all.push(byTime.get(t) ?? { at: new Date(t).toISOString(), nominal: 0, warning: 0, critical: 0, alerts: 0 });
  }
  return all;
}

// ActivityChart draws events by severity as bars, one upon the other, and alerts as marks above them.
export function ActivityChart({ of, label, height = 200 }: { of: Activity; label: string; height?: number }) {
  const place = useRef<HTMLDivElement>(null);
  const under = useRef<HTMLParagraphElement>(null);
  const plot = useRef<uPlot>(null as never);
  const steps = filled(of);
  const now = useRef(steps);
  now.current = steps;
  const data = dataOf(steps, of.step);
  const latest = useRef(data);
  latest.current = data;

  useEffect(() => {
    const make = () => {
      plot.current?.destroy();
      if (!place.current) return;
      plot.current = new uPlot(options(place.current.clientWidth, height, of.step, (i) => (under.current!.textContent = words(now.current, i, of.step))), latest.current, place.current);
    };
    make();
    const resize = new ResizeObserver(() => place.current && plot.current?.setSize({ width: place.current.clientWidth, height }));
    resize.observe(place.current!);
    const leave = onTheme(make);
    return () => {
      leave();
      resize.disconnect();
      plot.current?.destroy();
    };
  }, [height, of.step]);
  useEffect(() => plot.current?.setData(data), [of]);

  const total = (name: keyof Omit<Step, "at">) => steps.reduce((n, s) => n + s[name], 0);
  return (
    <figure class="chart">
      <div ref={place} role="img" aria-label={`${label}: ${names.map((n) => `${count(total(n))} ${n}`).join(", ")}, ${count(total("alerts"))} alerts.`} />
      <figcaption>
        <span class="legend">
          {names.map((n) => (
            <span key={n}>
              <i class={`swatch ${n}`} /> {n} <b class="num">{count(total(n))}</b>
            </span>
          ))}
          <span>
            <i class="swatch alerts" /> alerts <b class="num">{count(total("alerts"))}</b>
          </span>
        </span>
        <p ref={under} class="muted num">
          {words(steps, null, of.step)}
        </p>
      </figcaption>
    </figure>
  );
}

// dataOf stacks: the tallest bar is drawn first, the others over it. A bar stands in the middle of its step.
function dataOf(steps: Step[], step: number): uPlot.AlignedData {
  return [
    steps.map((s) => Date.parse(s.at) / 1000 + step / 2),
    steps.map((s) => s.nominal + s.warning + s.critical),
    steps.map((s) => s.warning + s.critical),
    steps.map((s) => s.critical),
    steps.map((s) => (s.alerts > 0 ? s.nominal + s.warning + s.critical : null)),
  ];
}

function words(steps: Step[], i: number | null, step: number): string {
  if (i === null || !steps[i]) return `each bar is ${step < 3600 ? `${step / 60} min` : `${step / 3600} h`}`;
  const s = steps[i];
  return `${date(s.at)} ${clock(s.at).slice(0, 5)}: ${count(s.nominal)} nominal, ${count(s.warning)} warning, ${count(s.critical)} critical, ${count(s.alerts)} alerts`;
}

// when is an axis' time of day, or the day where that begins.
function when(seconds: number, step: number): string {
  const at = new Date(seconds * 1000).toISOString();
  const time = clock(at).slice(0, 5);
  return time === "00:00" || step >= 3600 ? date(at).slice(5) + (time === "00:00" ? "" : ` ${time}`) : time;
}

function options(width: number, height: number, step: number, onCursor: (i: number | null) => void): uPlot.Options {
  const bars = uPlot.paths.bars!({ size: [0.8, 40], radius: 0 });
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const bar = (name: string): uPlot.Series => ({ fill: colour(name), stroke: colour(name), width: 0, paths: bars, points: { show: false } });
  return {
    width,
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    padding: [12, 4, 0, 0],
    scales: { x: { range: (_, min, max) => [min - step / 2, max + step / 2] }, y: { range: (_, __, max) => [0, Math.max(4, max * 1.08)] } },
    axes: [
      { ...axis, grid: { show: false }, space: 64, values: (_, all) => all.map((t) => when(t, step)) },
      { ...axis, size: 44, values: (_, all) => all.map((n) => (Number.isInteger(n) ? Intl.NumberFormat("en", { notation: "compact" }).format(n) : "")) },
    ],
    series: [
      {},
      bar("--nominal-bar"),
      bar("--warning-bar"),
      bar("--critical-bar"),
      { stroke: colour("--text"), width: 0, paths: () => null, points: { show: true, size: 5, fill: colour("--text"), stroke: colour("--ground"), width: 1 } },
    ],
    hooks: { setCursor: [(u) => onCursor(u.cursor.idx ?? null)] },
  };
}

// Spark is a small picture of a day, by hours.
export function Spark({ of, label }: { of: number[]; label: string }) {
  const most = Math.max(1, ...of);
  const total = of.reduce((a, b) => a + b, 0);
  return (
    <svg class="spark" viewBox={`0 0 ${of.length * 4} 20`} role="img" aria-label={`${label}: ${count(total)} events in 24 hours`} preserveAspectRatio="none">
      <title>{count(total)} events in 24 hours</title>
      {of.map((n, i) => {
        const h = n === 0 ? 0.6 : Math.max(1.5, (n / most) * 20);
        return <rect key={i} x={i * 4} y={20 - h} width="3" height={h} class={n === 0 ? "none" : ""} />;
      })}
    </svg>
  );
}
