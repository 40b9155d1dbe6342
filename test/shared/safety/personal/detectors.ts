import {
  PERSONAL_DATA_KINDS,
  type PersonalDataKind,
  type PersonalDataPattern,
} from '../../../../shared/access/personal-data.ts';
import { createDetector, type Detect } from '../../../../shared/safety/personal/detector.ts';

/** The kinds that are found without Bedrock Guardrails. */
export const OWN_KINDS = PERSONAL_DATA_KINDS.filter((kind) => kind !== 'name' && kind !== 'address');

/** Creates a detector that masks some kinds. */
export function createMaskingDetector(
  kinds: readonly PersonalDataKind[] = OWN_KINDS,
  patterns: readonly PersonalDataPattern[] = [],
): Promise<Detect> {
  return createDetector({ kinds: new Map(kinds.map((kind) => [kind, 'mask'])), patterns });
}

/** Returns what a detector finds, as `LABEL:value`. */
export function listFound(detect: Detect, text: string): string[] {
  return detect(text).map(({ label, start, end }) => `${label}:${text.slice(start, end)}`);
}
