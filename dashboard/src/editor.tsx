import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { complete, type Word } from "./language";
import type { Event, FieldError } from "./types";

// Editor edits an expression. A layer behind the text area holds the same text, and there the mark of an error; it also tells
// where the caret is, for the list of completions.
export function Editor(props: { id: string; value: string; onChange: (text: string) => void; errors: FieldError[]; seen: Event[]; readOnly: boolean }) {
  const area = useRef<HTMLTextAreaElement>(null);
  const caretMark = useRef<HTMLSpanElement>(null);
  const [caret, setCaret] = useState(0);
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState(0);
  const [place, setPlace] = useState({ left: "0", top: "0" });
  const { words, replaces } = open ? complete(props.value, caret, props.seen) : { words: [], replaces: 0 };
  const list = `${props.id}-words`;
  const option = (i: number) => `${list}-${i}`;

  useLayoutEffect(() => {
    const a = area.current!;
    a.style.height = "auto";
    a.style.height = `${a.scrollHeight + 2}px`;
  }, [props.value]);
  useLayoutEffect(() => {
    const m = caretMark.current;
    if (m && words.length > 0) setPlace({ left: `${Math.max(0, Math.min(m.offsetLeft, area.current!.clientWidth - 280))}px`, top: `${m.offsetTop + m.offsetHeight}px` });
  }, [caret, words.length, props.value]);
  useEffect(() => setChosen(0), [words.length, caret]);

  const insert = (w: Word) => {
    const a = area.current!;
    const from = caret - replaces;
    const stop = w.text.indexOf("|");
    const text = w.text.replace("|", "");
    // As if it had been typed, so that undo knows it.
    a.setSelectionRange(from, caret);
    if (!document.execCommand("insertText", false, text)) a.setRangeText(text, from, caret, "end");
    const at = from + (stop < 0 ? text.length : stop);
    a.setSelectionRange(at, at);
    props.onChange(a.value);
    setCaret(at);
    setOpen(false);
  };
  const onKey = (e: KeyboardEvent) => {
    if (e.ctrlKey && e.key === " ") {
      e.preventDefault();
      setOpen(true);
      return;
    }
    if (words.length === 0) return;
    const move = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (move) {
      e.preventDefault();
      setChosen((chosen + move + words.length) % words.length);
    } else if (e.key === "Enter" || e.key === "Tab") {
      e.preventDefault();
      insert(words[chosen]!);
    } else if (e.key === "Escape") {
      e.stopPropagation();
      setOpen(false);
    }
  };
  const error = props.errors.find((e) => e.line !== undefined);
  const mark = error ? offsetOf(props.value, error.line!, error.column!) : -1;
  return (
    <div class="editor">
      <pre aria-hidden="true" class="behind-text">
        <Marked text={props.value} caret={caret} error={mark} caretMark={caretMark} />
      </pre>
      <textarea
        ref={area}
        id={props.id}
        value={props.value}
        readOnly={props.readOnly}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        rows={3}
        aria-autocomplete="list"
        aria-haspopup="listbox"
        aria-controls={list}
        aria-activedescendant={words.length > 0 ? option(chosen) : undefined}
        aria-invalid={props.errors.length > 0}
        aria-describedby={`${props.id}-errors`}
        onInput={(e) => {
          props.onChange(e.currentTarget.value);
          setCaret(e.currentTarget.selectionStart);
          setOpen(true);
        }}
        onSelect={(e) => setCaret(e.currentTarget.selectionStart)}
        onKeyDown={onKey}
        onBlur={() => setOpen(false)}
      />
      <ul id={list} role="listbox" aria-label="Completions" class="words" hidden={words.length === 0} style={place}>
        {words.map((w, i) => (
          <li key={w.name} id={option(i)} role="option" aria-selected={i === chosen} onMouseDown={(e) => (e.preventDefault(), insert(w))}>
            <code>{w.name}</code> <span class="muted small">{w.what}</span>
          </li>
        ))}
      </ul>
      <ul class="errors" id={`${props.id}-errors`} aria-live="polite">
        {props.errors.map((e) => (
          <li key={e.message} class="error">
            {e.line !== undefined && (
              <button
                type="button"
                class="plain error"
                onClick={() => {
                  const at = offsetOf(props.value, e.line!, e.column!);
                  area.current!.focus();
                  area.current!.setSelectionRange(at, at);
                }}
              >
                line {e.line}, column {e.column}
              </button>
            )}{" "}
            {e.message}
          </li>
        ))}
      </ul>
    </div>
  );
}

// Marked is the text with the caret's place in it, and the word in which an error begins.
function Marked(props: { text: string; caret: number; error: number; caretMark: preact.RefObject<HTMLSpanElement | null> }) {
  const { text, caret, error } = props;
  const word = error < 0 ? "" : (/^(\w+|\S|$)/.exec(text.slice(error))?.[0] ?? "");
  const end = error + Math.max(1, word.length);
  const cuts = [...new Set([0, caret, ...(error < 0 ? [] : [error, end]), text.length])].filter((n) => n >= 0 && n <= text.length).sort((a, b) => a - b);
  const parts = [];
  for (let i = 0; i < cuts.length; i++) {
    if (cuts[i] === caret) parts.push(<span key="caret" ref={props.caretMark} class="caret-mark">{"\u200b"}</span>);
    const part = text.slice(cuts[i], cuts[i + 1] ?? text.length);
    if (part !== "") parts.push(cuts[i]! >= error && cuts[i]! < end && error >= 0 ? <mark key={cuts[i]}>{part}</mark> : part);
  }
  if (error >= text.length && error >= 0) parts.push(<mark key="end">{" "}</mark>);
  return <>{parts}{"\n"}</>;
}

// offsetOf is where a line and a column, in characters, are in a text.
function offsetOf(text: string, line: number, column: number): number {
  let at = 0;
  for (let n = 1; n < line; n++) {
    const end = text.indexOf("\n", at);
    if (end < 0) return text.length;
    at = end + 1;
  }
  const inLine = [...text.slice(at)].slice(0, column - 1).join("");
  return Math.min(at + inLine.length, text.length);
}
