// The API's shapes, as internal/openapi/openapi.yaml states them.

export type Severity = "nominal" | "warning" | "critical";
export const severities: Severity[] = ["nominal", "warning", "critical"];

export interface Event {
  id: number;
  key_id: string;
  event_type: string;
  severity: Severity;
  source_ip: string | null;
  actor: string | null;
  details: Record<string, unknown>;
  created_at: string;
  alerts_triggered: number;
  event_id: string;
  score: number;
  evaluated: boolean;
}

export type AlertState = "open" | "acked" | "resolved";
export type AlertVerb = "ack" | "resolve" | "reopen";

export interface Alert {
  id: string;
  rule_id: string;
  rule_version: number;
  rule_name: string;
  key_id: string;
  severity: Severity;
  state: AlertState;
  message: string;
  event_id: number;
  raised_at: string;
  hits: number;
  last_event_id: number;
  last_at: string;
  values: Record<string, number | boolean | null>;
  state_by: string | null;
  state_at: string | null;
  state_comment: string | null;
  actions?: { action: AlertVerb; by: string; at: string; comment: string | null }[];
}

export interface Key {
  key_id: string;
  name: string;
  key_type: string;
  status: string;
  event_count: number;
  first_activity: string | null;
  last_activity: string | null;
  risk_score: number;
  open_alerts: number;
  tags: string[];
  rotation_period: string | null;
  activity?: number[];
}

export interface Top {
  name: string;
  event_count: number;
  last_activity: string;
}

export interface KeyPage extends Key {
  actors: Top[];
  source_ips: Top[];
  event_types: Top[];
}

export interface Step {
  at: string;
  nominal: number;
  warning: number;
  critical: number;
  alerts: number;
}

export interface Activity {
  since: string;
  until: string;
  step: number;
  activity: Step[];
  behind_ms: number | null;
}

export interface RuleDraft {
  id: string;
  name: string;
  when: string;
  severity: Severity;
  score: number;
  dedup: string;
  message: string;
  enabled: boolean;
  mode: "live" | "shadow";
  tests?: unknown;
}

export interface Rule extends RuleDraft {
  version: number;
  created_at: string;
  by: string;
  complete_from: string | null;
  worst_micros?: number;
  worst_bytes?: number;
  hits?: number;
  shadow_hits?: number;
  rule_errors?: number;
}

export interface Cost {
  aggregates: { text: string; worst_bytes: number; worst_micros: number }[];
  worst_bytes: number;
  worst_micros: number;
  max_micros: number;
}

export interface Outcome {
  at: string;
  key_id: string;
  score: number;
  holds: boolean;
  hits: number;
  alert: { severity: Severity; message: string; values: Record<string, number | boolean | null> } | null;
}

export interface Session {
  tenant: string;
  api_key_id: string;
  name: string;
  scopes: string[];
  rate_limit: number;
}

export interface APIKey {
  id: string;
  version: number;
  name: string;
  rate_limit: number;
  scopes: string[];
  status: "active" | "inactive" | "revoked";
  created_at: string;
  expires_at: string | null;
  previous_until: string | null;
  last_used: string | null;
  api_key?: string;
}

export interface FieldError {
  field: string;
  message: string;
  line?: number;
  column?: number;
}
