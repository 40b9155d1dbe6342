import type { Alias } from '../inference/registry.ts';

/** `system_fingerprint`: another one when the operator changed what stands behind the model's name. */
export function computeSystemFingerprint(alias: Alias | undefined): string {
  if (alias === undefined) return 'fp_00000000';
  const known = FINGERPRINTS.get(alias);
  if (known !== undefined) return known;
  const made = `fp_${fnv1a(JSON.stringify(alias)).toString(16).padStart(8, '0')}`;
  FINGERPRINTS.set(alias, made);
  return made;
}

const FINGERPRINTS = new WeakMap<Alias, string>();

/** FNV-1a, 32 bits: to tell apart, not to hide. Too short to bring anything of the registry back. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return hash >>> 0;
}
