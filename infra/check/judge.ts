import type { Finding } from './findings.ts';
import { type Suppression, suppresses } from './suppressions.ts';

/**
 * Returns a line for each finding that no suppression covers, and for each suppression that covers no finding.
 * @param findings of all checked templates; duplicates are reported once
 */
export function listFaults(findings: readonly Finding[], suppressions: readonly Suppression[]): string[] {
  const open = findings.filter((finding) => !suppressions.some((suppression) => suppresses(suppression, finding)));
  const unused = suppressions.filter((suppression) => !findings.some((finding) => suppresses(suppression, finding)));
  return [...new Set([...open.map(describe), ...unused.map(describeUnused)])];
}

function describe({ rule, resource, text }: Finding): string {
  return `${resource}: ${text} (${rule})`;
}

function describeUnused({ rule, resource }: Suppression): string {
  return `${resource}: the suppression of ${rule} matches no finding; remove it`;
}
