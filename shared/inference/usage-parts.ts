import { getOrCreate } from '../core/get-or-create.ts';
import { addUsage } from './add-usage.ts';
import { formatDollars } from './cost.ts';
import type { ServiceTier, Usage } from './generation.ts';

/** What an answer has used. */
export interface AnswerUsage {
  /** The alias that answered. */
  readonly model: string;
  readonly serviceTier: ServiceTier | undefined;
  readonly usage: Usage;
  /** Undefined if the target has no price. */
  readonly picodollars: bigint | undefined;
}

/** Returns the usage of a request's answers by model and service tier, as JSON for its log line. Undefined if all have the same. */
export function encodeUsageParts(answers: readonly AnswerUsage[]): string | undefined {
  const groups = new Map<string, AnswerUsage[]>();
  for (const answer of answers) getOrCreate(groups, `${answer.model} ${answer.serviceTier}`, () => []).push(answer);
  if (groups.size < 2) return undefined;
  const parts = [...groups.values()].map((group) => {
    const usage = group.reduce<Usage | undefined>((sum, answer) => addUsage(sum, answer.usage), undefined);
    const costs = group.flatMap(({ picodollars }) => picodollars ?? []);
    return {
      model: group[0]?.model,
      serviceTier: group[0]?.serviceTier,
      inputTokens: usage?.inputTokens,
      outputTokens: usage?.outputTokens,
      cachedInputTokens: usage?.cachedInputTokens,
      cacheWriteTokens: usage?.cacheWriteTokens,
      ...(costs.length > 0 && { costUsd: formatDollars(costs.reduce((sum, cost) => sum + cost, 0n)) }),
    };
  });
  return JSON.stringify(parts);
}
