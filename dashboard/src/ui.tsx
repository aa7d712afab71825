import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Failure } from "./api";
import type { Loaded } from "./hooks";
import type { AlertState, Severity } from "./types";

const marks: Record<Severity, string> = { nominal: "•", warning: "▲", critical: "◆" };

// SeverityTag tells a severity by word, mark and colour.
export function SeverityTag({ of }: { of: Severity }) {
  return (
    <span class={`severity ${of}`}>
      <span aria-hidden="true">{marks[of]}</span> {of}
    </span>
  );
}

export function StateTag({ of }: { of: AlertState }) {
  return <span class={`state ${of}`}>{of}</span>;
}

// Page is what stands below the navigation: a heading, what can be done, and the content.
export function Page(props: { title: ComponentChildren; name: string; aside?: ComponentChildren; children: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${props.name} · KeyPulse`;
    heading.current?.focus({ preventScroll: true });
  }, [props.name]);
  return (
    <main id="main">
      <header class="head">
        <h1 ref={heading} tabIndex={-1}>
          {props.title}
        </h1>
        <div class="aside">{props.aside}</div>
      </header>
      {props.children}
    </main>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="strong">{title}</p>
      {children}
    </div>
  );
}

export function Trouble({ of, again }: { of: Failure; again?: () => void }) {
  return (
    <div class="trouble" role="alert">
      <p>
        {of.message}
        {of.requestID && <span class="muted"> Request {of.requestID}</span>}
      </p>
      {again && (
        <button type="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}

// Show shows what is loaded, or why there is nothing. Old data stay while a later try fails, and say so.
export function Show<T>({ of, children }: { of: Loaded<T>; children: (data: T) => ComponentChildren }) {
  if (of.data === undefined) {
    if (of.failure) return <Trouble of={of.failure} again={of.reload} />;
    return <Loading />;
  }
  return (
    <>
      {of.failure && <Trouble of={of.failure} again={of.reload} />}
      {children(of.data)}
    </>
  );
}

// Loading says so only when it takes long enough to be noticed.
export function Loading() {
  const [slow, setSlow] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), 300);
    return () => clearTimeout(timer);
  }, []);
  return (
    <p class="loading muted" role="status">
      {slow ? "Loading…" : "\u00a0"}
    </p>
  );
}

// Drawer is a dialog at the side; Escape and a click beside it close it.
export function Drawer(props: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const d = dialog.current!;
    d.showModal();
    return () => d.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      class="drawer"
      aria-label={props.title}
      onCancel={(e) => {
        e.preventDefault();
        props.onClose();
      }}
      onClick={(e) => e.target === dialog.current && props.onClose()}
    >
      <div class="inside">
        <header>
          <h2>{props.title}</h2>
          <button type="button" class="quiet" onClick={props.onClose}>
            Close
          </button>
        </header>
        {props.children}
      </div>
    </dialog>
  );
}

// Facts is a list of names and values.
export function Facts({ of }: { of: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value ?? <span class="muted">none</span>}</dd>
        </div>
      ))}
    </dl>
  );
}

export const keyLink = (keyID: string) => `#/keys/${encodeURIComponent(keyID)}`;

export function KeyLink({ id, name }: { id: string; name?: string }) {
  return (
    <a class="id" href={keyLink(id)} title={id}>
      {name ?? id}
    </a>
  );
}

// Values are a rule's aggregates and what they were.
export function Values({ of }: { of: Record<string, number | boolean | null> }) {
  const all = Object.entries(of);
  if (all.length === 0) return <p class="muted">The rule looks at the event alone.</p>;
  return (
    <table class="values">
      <thead>
        <tr>
          <th scope="col">Aggregate</th>
          <th scope="col" class="num">
            Value
          </th>
        </tr>
      </thead>
      <tbody>
        {all.map(([text, value]) => (
          <tr key={text}>
            <td>
              <code>{text}</code>
            </td>
            <td class="num strong">{String(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export function Json({ of }: { of: unknown }) {
  return (
    <pre class="json" tabIndex={0} aria-label="Details as JSON">
      {JSON.stringify(of, null, 2)}
    </pre>
  );
}

// Copy copies a text, and says so.
export function Copy({ text }: { text: string }) {
  const [done, setDone] = useState(false);
  return (
    <button
      type="button"
      onClick={async () => {
        await navigator.clipboard.writeText(text);
        setDone(true);
      }}
    >
      {done ? "Copied" : "Copy"}
    </button>
  );
}
