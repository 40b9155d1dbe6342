import type { LogFields } from './logger.ts';

/**
 * What a log line is recorded as, in the audit log and the usage: a call of the service, an act of the administration, a
 * reservation that a killed call left, settled at its upper bound, or a match of a content rule or guardrail.
 */
export const RECORDED_KINDS = ['call', 'act', 'settlement', 'guardrail'] as const;
export type RecordedKind = (typeof RECORDED_KINDS)[number];

/** Returns the field by which the function `record` gets a line: the subscription filters select the lines that have it. */
export function recordedAs(record: RecordedKind): LogFields {
  return { record };
}
