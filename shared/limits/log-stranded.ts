import type { RequestLogger } from '../core/logger.ts';
import { recordedAs } from '../core/recorded-line.ts';
import { formatDollars } from '../inference/cost.ts';
import type { Stranded } from './stranded.ts';

/** Logs calls that never settled, as the summary line of a request is logged, with the most that they can have used. */
export function logStranded(logger: Pick<RequestLogger, 'summarize'>, stranded: Stranded): void {
  const { pk, model, startedAt, calls, inputTokens, outputTokens, spend } = stranded;
  const [, tenant, keyId] = pk.split('#');
  logger.summarize('settlement', {
    ...recordedAs('settlement'),
    estimated: true,
    tenant,
    keyId,
    model,
    calls,
    startedAt: new Date(startedAt).toISOString(),
    inputTokens,
    outputTokens,
    costUsd: formatDollars(spend),
  });
}
