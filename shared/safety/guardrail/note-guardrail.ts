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
