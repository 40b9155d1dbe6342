import type { Alias } from '../inference/registry.ts';

/** Returns the `system_fingerprint` of an alias. It changes when the operator changes the alias. */
export function computeSystemFingerprint(alias: Alias | undefined): string {
  if (alias === undefined) return 'fp_00000000';
  const cached = FINGERPRINTS.get(alias);
  if (cached !== undefined) return cached;
  const fingerprint = `fp_${fnv1a(JSON.stringify(alias)).toString(16).padStart(8, '0')}`;
  FINGERPRINTS.set(alias, fingerprint);
  return fingerprint;
}

const FINGERPRINTS = new WeakMap<Alias, string>();

/** FNV-1a, 32 bits. Not a cryptographic hash, but too short to reveal anything of the registry. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}
