import type { Alias } from '../inference/registry.ts';

/** Returns the `system_fingerprint` of an alias, which changes when the operator changes the alias. */
export function computeSystemFingerprint(alias: Alias | undefined): string {
  if (alias === undefined) return 'fp_00000000';
  const cached = fingerprints.get(alias);
  if (cached !== undefined) return cached;
  const fingerprint = `fp_${fnv1a(JSON.stringify(alias)).toString(16).padStart(8, '0')}`;
  fingerprints.set(alias, fingerprint);
  return fingerprint;
}

const fingerprints = new WeakMap<Alias, string>();

/**
 * Returns the 32-bit FNV-1a hash of `text`. It isn't cryptographic, but too short to reveal anything about the alias.
 */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}
