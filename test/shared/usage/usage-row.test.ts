import { describe, expect, it } from 'vitest';
import type { Entry } from '../../../shared/audit/entry.ts';
import type { Candidate } from '../../../shared/inference/candidates.ts';
import type { ServiceTier, Usage } from '../../../shared/inference/generation.ts';
import { reportEnd } from '../../../shared/inference/observe.ts';
import { NO_USAGE, readUsage } from '../../../shared/usage/usage-row.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

/** Returns the entry of a request with these answers. The model `free` has no price. */
async function answer(
  ...answers: readonly (readonly [model: string, inputTokens: number, outputTokens: number, tier?: ServiceTier])[]
): Promise<Entry> {
  const telemetry = recordTelemetry();
  for (const [aliasName, inputTokens, outputTokens, serviceTier] of answers) {
    const rates = { inputPerMillion: aliasName === 'large' ? 3 : 0.1, outputPerMillion: 0.3 };
    const price = aliasName === 'free' ? undefined : rates;
    const candidate = { aliasName, alias: {}, target: { price } } as unknown as Candidate;
    const usage: Usage = { inputTokens, outputTokens, cachedInputTokens: 0, reasoningTokens: 0 };
    await reportEnd(telemetry, { candidate, usage, whole: true, serviceTier });
  }
  telemetry.logger.summarize('request', { record: 'call', tenant: 'acme', keyId: 'key_1', model: 'default' });
  const line = telemetry.lines.at(-1);
  return { id: 'audit_1', time: '2027-01-31T12:00:00Z', ...line } as unknown as Entry;
}

const summarize = (entry: Entry) =>
  readUsage(entry).map(({ key, sums }) => [key.model, key.tier, sums.requests, sums.inputTokens, sums.picodollars]);

describe('the usage of a request', () => {
  it('usage counts under the model that answered, if that is not the requested one', async () => {
    expect(summarize(await answer(['small', 10, 1]))).toEqual([['small', '', 1n, 10n, 1_300_000n]]);
  });

  it('usage has the tokens and the cost of each model and tier that answered', async () => {
    const entry = await answer(['large', 100, 1], ['small', 10, 1], ['large', 7, 0], ['small', 5, 0, 'flex']);
    expect(summarize(entry)).toEqual([
      ['large', '', 1n, 107n, 321_300_000n],
      ['small', '', 1n, 10n, 1_300_000n],
      ['small', 'flex', 1n, 5n, 500_000n],
    ]);
    const cost = readUsage(entry).reduce((sum, { sums }) => sum + sums.picodollars, 0n);
    expect(entry.costUsd).toBe(`0.000${cost / 100_000n}`);
  });

  it.each([
    ['last', ['large', 'free']],
    ['first', ['free', 'large']],
    ['between others', ['large', 'free', 'large']],
  ])('an answer without a price that comes %s keeps the cost of the others', async (_, models) => {
    const entry = await answer(...models.map((model) => [model, 100, 1] as const));
    const priced = BigInt(models.filter((model) => model === 'large').length);
    expect(summarize(entry).toSorted()).toEqual([
      ['free', '', 1n, 100n, 0n],
      ['large', '', 1n, priced * 100n, priced * 300_300_000n],
    ]);
  });

  it('the usage of several answers of one model is one sum', async () => {
    const entry = await answer(['small', 10, 1], ['small', 5, 0]);
    expect(entry.usageParts).toBeUndefined();
    expect(summarize(entry)).toEqual([['small', '', 1n, 15n, 1_800_000n]]);
  });

  it('the usage of the line counts if its parts do not add up to it', async () => {
    const entry = await answer(['large', 100, 1], ['small', 10, 1]);
    for (const usageParts of [entry.usageParts, '[', '[{"model":1}]', '{}'])
      expect(summarize({ ...entry, inputTokens: 10, usageParts })).toEqual([['small', '', 1n, 10n, 301_600_000n]]);
  });

  it('a refused call counts the calls of its moderation model, and nothing else', async () => {
    const refused = { ...(await answer()), moderationModel: 'strict', moderationRequests: 2 };
    const key = { kind: 'moderations', project: 'acme', keyId: 'key_1', model: 'strict', tier: '' };
    expect(readUsage(refused)).toEqual([{ key, sums: { ...NO_USAGE, requests: 2n } }]);
    expect(readUsage({ ...refused, record: 'guardrail' })).toEqual([]);
  });

  it('the usage of a settlement has all its calls', async () => {
    const entry = { ...(await answer(['small', 10, 1])), record: 'settlement' as const, calls: 3 };
    expect(readUsage(entry)).toMatchObject([{ key: { kind: 'estimated' }, sums: { requests: 3n } }]);
  });
});
