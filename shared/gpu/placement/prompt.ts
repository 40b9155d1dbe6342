import { createHash } from 'node:crypto';

/** A prompt as placement sees it: its length, and names for its beginnings. Holds no content. */
export interface PromptPrefixes {
  /** Bytes of the canonical messages. */
  readonly bytes: number;
  /** Shortest first, at geometric depths of 256-byte blocks, so that a longer prompt has hardly more of them. */
  readonly prefixes: readonly PromptPrefix[];
}

export interface PromptPrefix {
  /** Its length in bytes. */
  readonly bytes: number;
  /** Keyed hash of it under the tenant's salt, for one model: equal prefixes of two tenants have different ones. */
  readonly hash: string;
}

export interface PromptOwner {
  readonly tenant: string;
  /** The engine's name of the model or adapter: caches of two models share nothing. */
  readonly model: string;
  /** From `tenantSalt`. */
  readonly salt: string;
}

/** About 64 tokens: four of the blocks in which vLLM caches a prompt. */
export const BLOCK_BYTES = 256;

/** The most that one request to the directory writes; enough for a prompt of 1.5 MB. */
const MAX_PREFIXES = 25;

/** Half of SHA-256: no two prefixes meet by chance, and what is cut off keeps a hash from being carried on. */
const HASH_BYTES = 16;

/** Depths at which prefixes of a prompt of `blocks` whole blocks are named: 1, 2, 3, 4, 6, 8, 12, 16, 24… At most 25. */
export function listPrefixDepths(blocks: number): number[] {
  const depths: number[] = [];
  for (let power = 1; power <= blocks; power *= 2) {
    depths.push(power);
    if (power > 1 && power * 1.5 <= blocks) depths.push(power * 1.5);
  }
  return depths.slice(0, MAX_PREFIXES);
}

/**
 * The salt of one tenant's prefixes in one fleet. It also is what an engine is given to keep its own cache apart
 * (`cache_salt`). It keeps tenants from meeting in a cache, and so from learning by an answer's speed what another has
 * asked. It is derived from names and is no secret: who may read the fleets' table can test a guess of a prompt's beginning.
 */
export function deriveTenantSalt(tenant: string, fleet: string): string {
  return createHash('sha256')
    .update(JSON.stringify(['lambent prefix salt 1', fleet, tenant]))
    .digest('base64url');
}

/**
 * Names a prompt's beginnings. The text is hashed once, whatever its length; a digest is taken at each depth.
 * @param canonical the messages in the order and form in which the engine's template sees them, whole or in parts; where
 * it is cut into parts makes no difference
 */
export function hashPrefixes(
  canonical: string | Iterable<string>,
  { tenant, model, salt }: PromptOwner,
): PromptPrefixes {
  const hash = createHash('sha256').update(JSON.stringify([salt, tenant, model]));
  const prefixes: PromptPrefix[] = [];
  const depths = listPrefixDepths(Number.MAX_SAFE_INTEGER);
  let bytes = 0;
  for (const part of typeof canonical === 'string' ? [canonical] : canonical) {
    let rest = Buffer.from(part);
    for (;;) {
      const end = (depths[prefixes.length] ?? Number.POSITIVE_INFINITY) * BLOCK_BYTES;
      const taken = rest.subarray(0, end - bytes);
      hash.update(taken);
      bytes += taken.length;
      if (bytes < end) break;
      prefixes.push({ bytes, hash: hash.copy().digest().subarray(0, HASH_BYTES).toString('base64url') });
      rest = rest.subarray(taken.length);
    }
  }
  return { bytes, prefixes };
}
