import { BoundedMap } from '../../../core/bounded-map.ts';
import { omitUndefined } from '../../../core/objects.ts';
import type { Slot } from '../../../gpu/placement/slot.ts';
import { UpstreamError } from '../../model.ts';
import type { Blame, WorkerFailure } from './failure.ts';

/** Maximum number of workers that one call tries. If three fail, the request itself is most likely the cause. */
const MAX_WORKERS = 3;
/** Far more than the workers that one fleet runs at a time. */
const MAX_TIMED_OUT_WORKERS = 256;

/**
 * The workers whose latest call was given up before its first token, by id and boot id. All calls of a model in one
 * function environment share it.
 */
export type TimedOutWorkers = BoundedMap<string, true>;

export function createTimedOutWorkers(): TimedOutWorkers {
  return new BoundedMap(MAX_TIMED_OUT_WORKERS);
}

/** Marks a worker as suspect. */
export type MarkSuspect = (slot: Slot, error: UpstreamError) => Promise<void>;

/** Tracks the failures of one call on the workers that it tries: which worker is suspect, and which error to report. */
export class WorkerFailureTracker {
  readonly #timedOut: TimedOutWorkers;
  readonly #markSuspect: MarkSuspect;
  readonly #failedWorkers = new Set<string>();
  /** Failures that count once another worker answers. */
  readonly #unconfirmed: { readonly slot: Slot; readonly error: UpstreamError }[] = [];
  #hasAnswer = false;
  #hasBlamedOnce = false;
  #brokenConnections = 0;
  #error: UpstreamError | undefined;

  constructor(timedOut: TimedOutWorkers, markSuspect: MarkSuspect) {
    this.#timedOut = timedOut;
    this.#markSuspect = markSuspect;
  }

  /** Ids of the workers that have failed. The call must not try them again. */
  get failedWorkers(): ReadonlySet<string> {
    return this.#failedWorkers;
  }

  /** The error to report if no further worker can be tried. Undefined before the first failure. */
  get error(): UpstreamError | undefined {
    return this.#error;
  }

  /** Records that a worker has begun to answer. Does nothing when called again. */
  async recordAnswer(slot: Slot): Promise<void> {
    if (this.#hasAnswer) return;
    this.#hasAnswer = true;
    this.#timedOut.delete(toStartKey(slot));
    for (const failure of this.#unconfirmed) await this.#markSuspect(failure.slot, failure.error);
  }

  /**
   * Records a failure, and marks the worker as suspect if the failure counts against it.
   * @returns the error to report, or undefined if another worker should be tried
   */
  async recordFailure(slot: Slot, failure: WorkerFailure): Promise<UpstreamError | undefined> {
    const { error, blame, canRetryElsewhere } = failure;
    if (this.#countsNow(slot, blame)) await this.#markSuspect(slot, error);
    else if (blame === 'ifAnotherAnswers' || blame === 'oncePerCall') this.#unconfirmed.push({ slot, error });
    if (this.#hasAnswer || !canRetryElsewhere) return error;
    this.#failedWorkers.add(slot.worker.id);
    this.#error = this.#chooseError(slot, error);
    return this.#failedWorkers.size < MAX_WORKERS ? undefined : this.#error;
  }

  #countsNow(slot: Slot, blame: Blame): boolean {
    switch (blame) {
      case 'always':
        return true;
      case 'oncePerCall': {
        const isFirst = !this.#hasBlamedOnce;
        this.#hasBlamedOnce = true;
        return isFirst;
      }
      case 'ifRepeated': {
        const isRepeated = this.#timedOut.has(toStartKey(slot));
        this.#timedOut.set(toStartKey(slot), true);
        return isRepeated;
      }
      case 'never':
        this.#timedOut.delete(toStartKey(slot));
        return false;
      case 'ifAnotherAnswers':
        return false;
    }
  }

  /**
   * Returns the error to report if no further worker is tried: `upstream_cut` if the request may have killed workers,
   * else the latest error. `upstream_cut` costs a job an attempt, so one broken connection is reported as
   * `upstream_unavailable` while the fleet has other workers: it may be chance. A second broken connection, or one of
   * the only worker, is not.
   */
  #chooseError({ otherWorkers }: Slot, error: UpstreamError): UpstreamError {
    if (error.code === 'upstream_cut') this.#brokenConnections += 1;
    if (this.#error?.code === 'upstream_cut') return this.#error;
    const mayBeChance = error.code === 'upstream_cut' && this.#brokenConnections === 1 && otherWorkers > 0;
    return mayBeChance ? toUnavailableError(error) : error;
  }
}

function toUnavailableError({ message, recovery, upstream, cause }: UpstreamError): UpstreamError {
  return new UpstreamError('upstream_unavailable', message, {
    recovery,
    cause,
    ...omitUndefined({ upstream }),
  });
}

/** Returns the key of one start of a worker. It is unique because no id contains a space. */
function toStartKey({ worker }: Slot): string {
  return `${worker.id} ${worker.bootId}`;
}
