import type { Event } from "./types";

// What can be written in a rule's expression, for completion: docs/rules.md describes the language, and the server decides.
export interface Word {
  text: string; // what is inserted; a | says where the caret goes
  name: string;
  what: string;
}

const fields: [string, string][] = [
  ["key_id", "the key"],
  ["event_type", "signing_request, export, …"],
  ["severity", "nominal, warning or critical"],
  ["source_ip", "an address, as text"],
  ["actor", "who caused it"],
  ["details", "the event's own JSON"],
  ["created_at", "when it was accepted"],
  ["event_id", "the client's own identity of it"],
];

const functions: [string, string, string][] = [
  ["count", 'count("10m", |)', "events in the window that match"],
  ["rate", 'rate("10m", |)', "the same, per second"],
  ["sum", 'sum("1h", |)', "total of a number"],
  ["avg", 'avg("1h", |)', "mean of a number"],
  ["min", 'min("1h", |)', "smallest number"],
  ["max", 'max("1h", |)', "largest number"],
  ["stddev", 'stddev("1h", |)', "standard deviation of a number"],
  ["distinct", 'distinct("1h", |)', "how many different values"],
  ["first_seen", 'first_seen("30d", |)', "true when no earlier event had this value"],
  ["since_last", "since_last(|)", "seconds since the last match"],
  ["hour", 'hour("|UTC")', "hour of day in a time zone"],
  ["weekday", 'weekday("|UTC")', "0 is Sunday"],
  ["cidr", 'cidr(source_ip, "|10.0.0.0/8")', "whether an address is in a network"],
  ["len", "len(|)", "length"],
  ["lower", "lower(|)", "in lower case"],
  ["upper", "upper(|)", "in upper case"],
];

const operators: [string, string][] = [
  ["and", "both"],
  ["or", "either"],
  ["not", "the opposite"],
  ["in", "is one of a list"],
  ["contains", "has this text in it"],
  ["startsWith", "begins with"],
  ["endsWith", "ends with"],
  ["matches", "matches a pattern"],
  ["true", ""],
  ["false", ""],
  ["nil", "nothing"],
];

const words: Word[] = [
  ...fields.map(([name, what]) => ({ name, what, text: name })),
  ...functions.map(([name, text, what]) => ({ name, what, text })),
  ...operators.map(([name, what]) => ({ name, what, text: name })),
];

const known: Record<string, string[]> = {
  event_type: ["signing_request", "key_access", "rotation", "export", "policy_change"],
  severity: ["nominal", "warning", "critical"],
};

// complete returns what may stand at the caret, and how many characters before it that replaces. Values and paths of details
// come from events that were seen.
export function complete(text: string, caret: number, seen: Event[]): { words: Word[]; replaces: number } {
  const before = text.slice(0, caret);
  const value = /\b(event_type|severity|actor|key_id)\s*(?:==|!=)\s*"([^"]*)$/.exec(before);
  if (value) {
    const [, field, part] = value as unknown as [string, "event_type" | "severity" | "actor" | "key_id", string];
    const all = new Set([...(known[field] ?? []), ...seen.map((e) => e[field] ?? "").filter(Boolean)]);
    const after = text[caret] === '"' ? "" : '"';
    return { replaces: part.length, words: pick([...all].map((name) => ({ name, what: field, text: name + after })), part) };
  }
  if ((before.match(/"/g)?.length ?? 0) % 2 === 1) return { words: [], replaces: 0 }; // inside of another text
  const path = /\bdetails\.([\w.]*)$/.exec(before);
  if (path) {
    return { replaces: path[1]!.length, words: pick([...new Set(seen.flatMap((e) => paths(e.details)))].map((name) => ({ name, what: "of recent events", text: name })), path[1]!) };
  }
  const part = /[A-Za-z_]\w*$/.exec(before)?.[0] ?? "";
  if (part === "") return { words: [], replaces: 0 };
  return { replaces: part.length, words: pick(words, part) };
}

function pick(all: Word[], part: string): Word[] {
  const low = part.toLowerCase();
  const fits = all.filter((w) => w.name.toLowerCase().startsWith(low));
  return fits.length === 1 && fits[0]!.text === part ? [] : fits.slice(0, 8);
}

function paths(value: unknown, at = "", depth = 0): string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value) || depth > 4) return at === "" ? [] : [at];
  return Object.entries(value).flatMap(([name, inner]) => (/^\w+$/.test(name) ? paths(inner, at === "" ? name : `${at}.${name}`, depth + 1) : []));
}
