import type { FieldError } from "./types";

// Failure is an answer that is no success, or no answer at all.
export class Failure extends Error {
  constructor(
    readonly status: number, // 0: the server did not answer
    readonly code: string,
    message: string,
    readonly errors: FieldError[] = [],
    readonly retryAfter = 0, // seconds
    readonly requestID = "",
  ) {
    super(message);
  }
}

// onSignedOut is called when the session has ended: it was never there, or its API key opens nothing any more.
let signedOut = () => {};
export const onSignedOut = (f: () => void) => void (signedOut = f);

export function endsSession(f: Failure): boolean {
  return f.status === 401 || (f.status === 403 && f.code === "forbidden");
}

export async function failureOf(response: Response): Promise<Failure> {
  let body: Record<string, unknown> = {};
  try {
    body = await response.json();
  } catch {
    // Something between us and the server answered in its own words.
  }
  const f = new Failure(
    response.status,
    String(body.code ?? "unknown"),
    String(body.message ?? `The server answered ${response.status}.`),
    Array.isArray(body.errors) ? body.errors : [],
    Number(response.headers.get("Retry-After") ?? 0),
    String(body.request_id ?? ""),
  );
  return f;
}

export const away = () => new Failure(0, "away", "The server does not answer.");

export async function api<T>(path: string, init: { method?: string; body?: unknown; signal?: AbortSignal } = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method: init.method ?? "GET",
      signal: init.signal,
      headers: init.body === undefined ? {} : { "Content-Type": "application/json" },
      body: init.body === undefined ? undefined : JSON.stringify(init.body),
    });
  } catch (e) {
    if (init.signal?.aborted) throw e;
    throw away();
  }
  if (!response.ok) {
    const f = await failureOf(response);
    if (endsSession(f) && path !== "/api/session") signedOut();
    throw f;
  }
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

// query makes a query string of what is not empty.
export function query(params: Record<string, string | number | undefined>): string {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== "") q.set(name, String(value));
  }
  const s = q.toString();
  return s === "" ? "" : "?" + s;
}
