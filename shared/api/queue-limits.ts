import type { Caller } from '../access/principal.ts';
import type { SenderLimits } from '../access/senders.ts';
import { LambentError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { describeError } from '../core/logger.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { computeWeight, EXPECTED_OUTPUT_TOKENS } from '../gpu/placement/weight.ts';
import type { GenerationRequest } from '../inference/generation.ts';
import { estimatePromptTokens } from '../inference/prompt-tokens.ts';
import type { JobStore } from '../jobs/ports.ts';
import type { Admitted } from '../jobs/submit.ts';
import type { CounterStore } from '../limits/counters.ts';
import { JobLedger } from '../limits/job-ledger.ts';
import { queueLimitError } from '../limits/limit-errors.ts';
import { encodeLimitName } from '../limits/limit-name.ts';
import { listQueueCaps } from '../limits/queue-caps.ts';
import { countMessage } from '../limits/sender-messages.ts';
import { type Delivery, hasWaited, noteWait } from '../limits/waiting-messages.ts';
import { readJobState } from './read-job-state.ts';

export interface QueueLimitsOptions {
  readonly store: CounterStore;
  readonly jobs: JobStore;
  /** What happens to limited jobs while the table of limits is not available. */
  readonly whenDown: 'refuse' | 'pass';
  /** Returns epoch milliseconds. Default: `Date.now`. */
  readonly now?: () => number;
}

/** A request that is about to become a job. */
export interface QueuedRequest {
  readonly admitted: Admitted;
  /** The complete request to the model. */
  readonly generation: GenerationRequest;
  readonly caller: Caller;
  readonly telemetry: Telemetry | undefined;
  /** Whether an earlier try may have created the job. */
  readonly isRepeated?: boolean;
}

/** Counts accepted jobs under the limits of their callers. Once per environment. */
export class QueueLimits {
  readonly #options: QueueLimitsOptions;
  readonly #ledger: JobLedger;

  constructor(options: QueueLimitsOptions) {
    this.#options = options;
    const { store, jobs, now = Date.now } = options;
    this.#ledger = new JobLedger({ store, now, newId, readState: (tenant, id) => readJobState(jobs, tenant, id) });
  }

  /**
   * Counts a job that is about to be created, unless it exists.
   * @throws LambentError `rate_limit_exceeded` with the limit's name, with `retryAfterMs` if it may be allowed later; `overloaded` if
   * the table of limits is not available; the errors of the jobs' table
   */
  async enter({ admitted, generation, caller, telemetry, isRepeated = false }: QueuedRequest): Promise<void> {
    const { jobs } = this.#options;
    const { tenant, id, lane, input } = admitted;
    // The ledger doesn't find an entry that it has moved to a page, and would count the job again.
    if (isRepeated && (await readJobState(jobs, tenant, id)) !== 'absent') return;
    const amounts = {
      jobs: 1n,
      bytes: BigInt(Buffer.byteLength(JSON.stringify(input))),
      weight: lane === 'gpu' ? BigInt(estimateWeight(generation)) : 0n,
    };
    const job = { tenant, id, keyId: caller.keyId, amounts };
    const onError = (what: string, thrown: unknown) => telemetry?.logger.warn(what, describeError(thrown));
    const refusal = await this.#ledger
      .enter(job, listQueueCaps(caller.policy), onError)
      .catch((thrown: unknown) => this.#passIfDown(thrown, telemetry));
    // A repeated request gets its job, which is counted already, or was accepted before there was a limit.
    if (refusal === undefined || (await readJobState(jobs, tenant, id)) !== 'absent') return;
    telemetry?.logger.annotate({ limit: encodeLimitName(refusal.cap) });
    telemetry?.metrics.gather({ LimitedCalls: [1, 'Count'] });
    throw queueLimitError(refusal);
  }

  /**
   * Counts a message of a sender. Returns the function that takes it back.
   * @throws as `enter`
   */
  async countMessage(
    pk: string,
    limits: SenderLimits,
    telemetry: Telemetry | undefined,
  ): Promise<(() => Promise<void>) | undefined> {
    const { store, now = Date.now } = this.#options;
    try {
      return await countMessage(store, pk, limits, now());
    } catch (thrown) {
      if (!(thrown instanceof LambentError)) return this.#passIfDown(thrown, telemetry);
      telemetry?.logger.annotate({ limit: 'sender' });
      telemetry?.metrics.gather({ LimitedCalls: [1, 'Count'] });
      throw thrown;
    }
  }

  /** As `noteWait` of the table of limits. */
  noteWait(delivery: Delivery, pauseMs: number): Promise<void> {
    const { store, now = Date.now } = this.#options;
    return noteWait(store, delivery, pauseMs, now());
  }

  /** As `hasWaited` of the table of limits. */
  hasWaited(delivery: Delivery): Promise<boolean> {
    return hasWaited(this.#options.store, delivery);
  }

  #passIfDown(thrown: unknown, telemetry: Telemetry | undefined): undefined {
    const { whenDown } = this.#options;
    telemetry?.logger.error('limits not available', { passed: whenDown === 'pass', ...describeError(thrown) });
    telemetry?.metrics.publish({ LimitsUnavailable: [1, 'Count'] }, 'stage');
    if (whenDown === 'pass') return undefined;
    throw new LambentError('overloaded', 'The table of limits is not available', { cause: thrown });
  }
}

function estimateWeight(request: GenerationRequest): number {
  const expected = Math.min(request.maxOutputTokens ?? EXPECTED_OUTPUT_TOKENS, EXPECTED_OUTPUT_TOKENS);
  return computeWeight(estimatePromptTokens(request), expected);
}
