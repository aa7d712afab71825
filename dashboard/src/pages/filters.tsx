import { useState } from "preact/hooks";
import { severities } from "../types";

export const filterNames = ["key_id", "event_type", "severity", "actor", "source_ip", "min_score"];

// Filters are those of the stream. They stand in the address, so that a view can be passed on.
export function Filters({ params }: { params: URLSearchParams }) {
  const [shown, setShown] = useState(params.size > 0); // on a telephone
  const set = (form: HTMLFormElement) => {
    const next = new URLSearchParams();
    for (const [name, value] of new FormData(form)) {
      const text = String(value).trim();
      if (name === "details") {
        const [path, ...rest] = text.split("=");
        if (path && rest.length) next.set("details." + path.trim(), rest.join("=").trim());
      } else if (text !== "") {
        next.set(name, text);
      }
    }
    location.hash = "#/live" + (next.size ? "?" + next : "");
  };
  const details = [...params].find(([name]) => name.startsWith("details."));
  const text = (name: string, label: string, hint: string, value = params.get(name) ?? "") => (
    <label class="field">
      <span>{label}</span>
      <input name={name} defaultValue={value} key={value} placeholder={hint} spellcheck={false} autocomplete="off" onChange={(e) => set(e.currentTarget.form!)} />
    </label>
  );
  return (
    <form
      class={`filters ${shown ? "shown" : ""}`}
      aria-label="Filters"
      onSubmit={(e) => {
        e.preventDefault();
        set(e.currentTarget);
      }}
    >
      <button type="button" class="narrow" aria-expanded={shown} onClick={() => setShown(!shown)}>
        {shown ? "Hide the filters" : "Filters"}
      </button>
      <label class="field">
        <span>Severity</span>
        <select name="severity" value={params.get("severity") ?? ""} onChange={(e) => set(e.currentTarget.form!)}>
          <option value="">all</option>
          {severities.map((s) => (
            <option key={s}>{s}</option>
          ))}
        </select>
      </label>
      {text("min_score", "Score from", "0")}
      {text("event_type", "Type", "export")}
      {text("key_id", "Key", "signing-key-01")}
      {text("actor", "Actor", "alice")}
      {text("source_ip", "Address", "10.0.0.0/8")}
      {text("details", "Details", "asset=BTC", details ? `${details[0].slice(8)}=${details[1]}` : "")}
      <button type="submit" class="hidden">
        Apply the filters
      </button>
      {params.size > 0 && (
        <a class="clear" href="#/live">
          Clear
        </a>
      )}
    </form>
  );
}
