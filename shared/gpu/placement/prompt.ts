import { createHash, type Hash } from 'node:crypto';

/** A prompt for placement: its length, and hashes of its prefixes. Holds no content. */
export interface PromptPrefixes {
  /** Bytes of the canonical prompt. */
  readonly bytes: number;
  /**
   * The session, if the caller names one, then the prefixes, shortest first, at geometric depths in blocks of 256 bytes: a
   * longer prompt has hardly more of them.
   */
  readonly prefixes: readonly PromptPrefix[];
}

export interface PromptPrefix {
  /** The prefix's length in bytes. */
  readonly bytes: number;
  /** Hash of the prefix, keyed by tenant, salt and model: equal prefixes of two tenants have different hashes. */
  readonly hash: string;
}

export interface PromptOwner {
  readonly tenant: string;
  /** The engine's name of the model or adapter. The caches of two models share nothing. */
  readonly model: string;
  /** From `deriveTenantSalt`. */
  readonly salt: string;
  /** The caller's name of the session. Absent if it names none. */
  readonly session?: string;
}

/** About 64 tokens: four of the blocks in which vLLM caches a prompt. */
export const BLOCK_BYTES = 256;

/** Maximum number of items that one request writes into the directory. Enough for a prompt of 1.5 MB. */
const MAX_PREFIXES = 25;

/**
 * The part of a prompt that the last worker of its session probably has cached, even if the prompt has another beginning now, as
 * after a compaction. Enough to prefer the worker to one with another request more.
 */
const SESSION_BYTES = 1_024;

/** Half of SHA-256. Collisions are still negligible, and a hash cannot be extended without the discarded half. */
const HASH_BYTES = 16;

/**
 * Returns the depths at which the prefixes of a prompt of `blocks` whole blocks are hashed: 1, 2, 3, 4, 6, 8, 12, 16,
 * 24…
 */
export function listPrefixDepths(blocks: number): number[] {
  const depths: number[] = [];
  for (let power = 1; power <= blocks; power *= 2) {
    depths.push(power);
    if (power > 1 && power * 1.5 <= blocks) depths.push(power * 1.5);
  }
  return depths.slice(0, MAX_PREFIXES);
}

/**
 * Returns the salt of a tenant's prefixes in a fleet. The engine gets it as `cache_salt`, so that tenants share no
 * cache and cannot learn each other's prompts from response times. It is derived from names and is not secret: with
 * read access to the fleet table, a guess of a prompt's beginning can be tested.
 */
export function deriveTenantSalt(tenant: string, fleet: string): string {
  return createHash('sha256')
    .update(JSON.stringify(['lambent prefix salt 1', fleet, tenant]))
    .digest('base64url');
}

/**
 * Hashes a prompt's prefixes. The text is read once; a digest is taken at each depth.
 * @param canonical the prompt, tools and messages, in the order of the engine's chat template; may be split anywhere
 */
export function hashPrefixes(
  canonical: string | Iterable<string>,
  { tenant, model, salt, session }: PromptOwner,
): PromptPrefixes {
  const hash = createHash('sha256').update(JSON.stringify([salt, tenant, model]));
  const prefixes: PromptPrefix[] = [];
  const depths = listPrefixDepths(Number.MAX_SAFE_INTEGER).slice(0, session === undefined ? MAX_PREFIXES : -1);
  let bytes = 0;
  for (const part of typeof canonical === 'string' ? [canonical] : canonical) {
    let rest = Buffer.from(part);
    for (;;) {
      const end = (depths[prefixes.length] ?? Number.POSITIVE_INFINITY) * BLOCK_BYTES;
      const taken = rest.subarray(0, end - bytes);
      hash.update(taken);
      bytes += taken.length;
      if (bytes < end) break;
      prefixes.push({ bytes, hash: shorten(hash.copy()) });
      rest = rest.subarray(taken.length);
    }
  }
  if (session === undefined) return { bytes, prefixes };
  const own = createHash('sha256').update(JSON.stringify(['session', salt, tenant, model, session]));
  return { bytes, prefixes: [{ bytes: Math.min(SESSION_BYTES, bytes), hash: shorten(own) }, ...prefixes] };
}

function shorten(hash: Hash): string {
  return hash.digest().subarray(0, HASH_BYTES).toString('base64url');
}
