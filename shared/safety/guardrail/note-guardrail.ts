import type { Telemetry } from '../../core/telemetry.ts';
import { noteDestination } from '../../inference/destinations.ts';
import type { Guardrail } from './bedrock-guardrail.ts';

/** By request. */
const called = new WeakMap<Telemetry, Set<string>>();

/** Annotates the request with the guardrails that its content was sent to so far, before it is sent to one of them. */
export function noteGuardrail(
  telemetry: Telemetry | undefined,
  name: string,
  { destination }: Pick<Guardrail, 'destination'>,
): void {
  if (telemetry === undefined) return;
  const names = called.get(telemetry) ?? new Set();
  called.set(telemetry, names.add(name));
  telemetry.logger.annotate({ guardrails: [...names].join(' ') });
  noteDestination(telemetry, destination);
}

/** By request: one has several calls of models if its context is summarized. */
const checks = new WeakMap<Telemetry, { readonly count: number; readonly ms: number }>();

/** Annotates the request with how many checks its guardrails have made so far, and with their time. */
export function noteCheck(telemetry: Telemetry | undefined, ms: number): void {
  if (telemetry === undefined) return;
  const before = checks.get(telemetry) ?? { count: 0, ms: 0 };
  const sum = { count: before.count + 1, ms: before.ms + ms };
  checks.set(telemetry, sum);
  telemetry.logger.annotate({ guardrailChecks: sum.count, guardrailMs: Math.round(sum.ms) });
}
