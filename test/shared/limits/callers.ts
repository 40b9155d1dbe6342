import type { Policy } from '../../../shared/access/policy.ts';
import type { Amounts } from '../../../shared/limits/caps.ts';
import type { CounterStore } from '../../../shared/limits/counters.ts';
import { createRandom, LimitWorld } from './limit-world.ts';

const TENANTS = ['acme', 'beta'];
const MODELS = ['small', 'org/large.v2'];

/** What a stream of a stored response uses. */
const NOTHING: Amounts = { requests: 0n, inputTokens: 0n, outputTokens: 0n, spend: 0n };

/** What a call may use, and what it has used: never more. */
export function amountsOf(random: () => number): { most: Amounts; used: Amounts } {
  const inputTokens = BigInt(1 + Math.floor(random() * 100));
  const outputTokens = BigInt(1 + Math.floor(random() * 200));
  const most = { requests: 1n, inputTokens, outputTokens, spend: (inputTokens + outputTokens * 4n) * 2_000_000n };
  const share = random() < 0.3 ? 1 : random();
  const used = {
    requests: 1n,
    inputTokens,
    outputTokens: BigInt(Math.floor(Number(outputTokens) * share)),
    spend: (inputTokens + BigInt(Math.floor(Number(outputTokens) * share)) * 4n) * 2_000_000n,
  };
  return { most, used };
}

/**
 * Lets callers of several tenants, keys and models call at once, in two waves.
 * @param options `keys` of each tenant; `sweeps` during each wave, of two kinds
 */
export async function runCallers(options: {
  readonly store: CounterStore;
  readonly seed: number;
  readonly policy: Policy;
  readonly environments: number;
  readonly faults: number;
  readonly stepMs: number;
  readonly callers: number;
  readonly keys?: number;
  readonly sweeps?: number;
}) {
  const keys = Array.from({ length: options.keys ?? 3 }, (_, index) => `key-${index}`);
  const callers = new LimitWorld({ ...options, policyOf: () => options.policy });
  const random = createRandom(options.seed + 1);
  const pick = <T>(from: readonly [T, ...T[]] | readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const limiters = Array.from({ length: options.environments }, () => callers.createLimiter());
  // In two waves, so that some start while others settle.
  for (let wave = 0; wave < 2; wave += 1) {
    if (options.sweeps !== undefined) callers.startSweeps(options.sweeps);
    for (let index = 0; index < options.callers / 2; index += 1) {
      const { most, used } = amountsOf(random);
      const kind = pick(['answers', 'streams', 'resumed'] as const);
      const amounts = kind === 'resumed' ? NOTHING : most;
      const call = callers.callOf(pick(TENANTS), pick(keys), pick(MODELS), kind, amounts);
      const breaks = kind !== 'resumed' && random() < 0.3 ? 1 + Math.floor(random() * 3) : 0;
      callers.start(pick(limiters), call, () => (kind === 'resumed' ? NOTHING : used), breaks);
    }
    await callers.finish();
  }
  return { callers };
}
