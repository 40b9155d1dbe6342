import { toCounts } from '../core/metrics.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { addUsage } from './add-usage.ts';
import type { Candidate } from './candidates.ts';
import { describeDestination } from './destinations.ts';
import type { FailedAttempt } from './failed-attempt.ts';
import type { ServiceTier, Usage } from './generation.ts';
import type { AnswerUsage } from './usage-parts.ts';

// Each function reports to the telemetry of one request, if there is one: names, times and token counts, never content.

/** An answer that has ended. */
export interface EndedAnswer {
  readonly candidate: Candidate;
  readonly usage: Usage | undefined;
  readonly whole: boolean;
  /** The tier that served the request, as the provider reports it. */
  readonly serviceTier?: ServiceTier | undefined;
}

/** What `reportEnd` needs of an answer. */
interface ReportedAnswer extends Omit<EndedAnswer, 'candidate'> {
  readonly candidate: Omit<Candidate, 'key'>;
}

/** Logs an attempt that failed before or during its answer. */
export async function reportFailedAttempt(telemetry: Telemetry | undefined, attempt: FailedAttempt): Promise<void> {
  // Imported here, so that environments start without it.
  if (telemetry !== undefined) (await import('./failed-attempt.ts')).logFailedAttempt(telemetry, attempt);
}

/** Annotates the request with the target that started to answer it. */
export function reportFirstEvent(
  telemetry: Telemetry | undefined,
  { candidate, attempts, ms }: { readonly candidate: Candidate; readonly attempts: number; readonly ms: number },
): void {
  const { aliasName, target } = candidate;
  telemetry?.logger.annotate({
    model: aliasName,
    ...describeDestination(target),
    attempts,
    upstreamMs: Math.round(ms),
  });
}

/**
 * Annotates the request with how its answer ended and what all its answers have used and cost so far, and counts the tokens
 * and the cost of this one.
 * @param isCounted true if the metrics have the tokens and the cost already: an earlier attempt of the job has reported the answer
 */
export async function reportEnd(
  telemetry: Telemetry | undefined,
  { candidate, usage, whole, serviceTier }: ReportedAnswer,
  isCounted?: boolean,
): Promise<void> {
  telemetry?.logger.annotate({ whole });
  if (usage === undefined || telemetry === undefined) return;
  const { target, alias, aliasName } = candidate;
  const price = target.price ?? alias.price;
  // Imported here, so that environments start without it.
  const costs = price && (await import('./cost.ts'));
  const parts = spending.has(telemetry) ? await import('./usage-parts.ts') : undefined;
  const before = spending.get(telemetry);
  const cost = price && costs?.describeCost(usage, price, serviceTier, before?.picodollars ?? 0n);
  const total = addUsage(before?.usage, usage);
  const picodollars = cost && cost.sum - (before?.picodollars ?? 0n);
  const answers = [...(before?.answers ?? []), { model: aliasName, serviceTier, usage, picodollars }];
  // An answer without a price leaves the cost of those before it.
  const costUsd = cost?.exactSum ?? before?.costUsd;
  spending.set(telemetry, { usage: total, picodollars: cost?.sum ?? before?.picodollars, costUsd, answers });
  const { inputTokens, cachedInputTokens, cacheWriteTokens = 0, outputTokens } = total;
  telemetry.logger.annotate({
    inputTokens,
    outputTokens,
    ...(cachedInputTokens > 0 && { cachedInputTokens }),
    ...(cacheWriteTokens > 0 && { cacheWriteTokens }),
    costUsd,
    serviceTier,
    // The line of a job names the model that was asked for.
    usageModel: aliasName,
    usageParts: parts?.encodeUsageParts(answers),
  });
  if (isCounted) return;
  telemetry.metrics.gather(
    {
      InputTokens: [usage.inputTokens, 'Count'],
      OutputTokens: [usage.outputTokens, 'Count'],
      ...toCounts({ CachedInputTokens: usage.cachedInputTokens }),
      ...(cost?.dollars && { CostUsd: [cost.dollars, 'None'] }),
    },
    { Model: aliasName },
  );
}

/** What the answers of a request have used and cost so far. */
interface Spending {
  readonly usage: Usage;
  readonly picodollars: bigint | undefined;
  /** The same as dollars. */
  readonly costUsd: string | undefined;
  readonly answers: readonly AnswerUsage[];
}

/** By request: one has several answers if an answer is repeated, or its context summarized, maybe by another target. */
const spending = new WeakMap<Telemetry, Spending>();
