import type { Policy } from '../../../shared/access/policy.ts';
import { QueueLimits } from '../../../shared/api/queue-limits.ts';
import { readJobState } from '../../../shared/api/read-job-state.ts';
import { LambentError } from '../../../shared/core/errors.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { cancelJob, deleteJob } from '../../../shared/jobs/control.ts';
import { isTerminal, type Job } from '../../../shared/jobs/job.ts';
import { createMemoryStore, type Entry } from '../../../shared/jobs/memory-store.ts';
import { type Admitted, submit } from '../../../shared/jobs/submit.ts';
import { JOB_TIMINGS } from '../../../shared/jobs/timings.ts';
import { claim, commit } from '../../../shared/jobs/transitions.ts';
import type { CounterStore } from '../../../shared/limits/counters.ts';
import { sweepLimits } from '../../../shared/limits/sweep-limits.ts';
import { aJob, anInput, HOUR_MS, START } from '../jobs/jobs.ts';
import { createMemoryBlobs } from '../jobs/memory-blobs.ts';
import { aVault } from '../jobs/services.ts';
import { sweepOnce } from '../jobs/sweep-once.ts';
import { createRandom } from '../limits/limit-world.ts';
import { MemoryCounters } from '../limits/memory-counters.ts';

export interface QueueWorldOptions {
  readonly seed: number;
  readonly policy: Policy;
  /** Probability at each call of a port that the function dies before or after it, or that the call fails. */
  readonly faults: number;
  /** The longest step of the clock, in milliseconds. */
  readonly stepMs: number;
}

/** Who sends a job, and its size. */
export interface Sent {
  readonly tenant: string;
  readonly keyId: string;
  readonly id: string;
  readonly isGpu: boolean;
  readonly text: string;
}

/**
 * Functions that accept, run, cancel and delete jobs at once, whose calls of the jobs' table, of the bodies and of the table of limits
 * happen in a random order, on a clock of their own, while some of the functions die.
 */
export class QueueWorld {
  now = START;
  readonly counters = new MemoryCounters();
  readonly entries = new Map<string, Entry>();
  /** See the option. */
  faults: number;
  accepted = 0;
  refused = 0;
  readonly #options: QueueWorldOptions;
  readonly #random: () => number;
  readonly #steps: (() => Promise<void> | void)[] = [];
  readonly #jobs = createMemoryStore(() => this.now, this.entries);
  readonly #bodies = createBodies(aVault(), createMemoryBlobs());
  readonly #onStep: () => void;

  /** @param onStep called after each step */
  constructor(options: QueueWorldOptions, onStep: (world: QueueWorld) => void) {
    this.#options = options;
    this.faults = options.faults;
    this.#random = createRandom(options.seed);
    this.#onStep = () => onStep(this);
  }

  random(): number {
    return this.#random();
  }

  /** Creates the limits of one environment. */
  createLimits(): QueueLimits {
    const store: CounterStore = this.#inTurn(this.counters);
    return new QueueLimits({ store, jobs: this.#inTurn(this.#jobs), whenDown: 'refuse', now: () => this.now });
  }

  /** Sends a job. It is accepted unless a limit refuses it or the function dies. */
  send(limits: QueueLimits, sent: Sent): void {
    const { tenant, keyId, id, isGpu, text } = sent;
    const { endpoint, tier, background, streamed, stored } = aJob();
    const input = anInput({ body: { model: 'default', input: text } });
    const admitted: Admitted = {
      ...{ tenant, id, endpoint, tier, background, streamed, stored, input },
      deadline: this.now + HOUR_MS,
      expiresAt: Math.ceil((this.now + 24 * HOUR_MS) / 1000),
      ...(isGpu && { lane: 'gpu' }),
    };
    const caller = { tenant, keyId, policy: this.#options.policy };
    void (async () => {
      try {
        await limits.enter({ admitted, generation: input.generation, caller, telemetry: undefined });
        const ports = { jobs: this.#inTurn(this.#jobs), bodies: this.#inTurn(this.#bodies) };
        const { kind } = await submit(admitted, { ...ports, timings: JOB_TIMINGS, now: () => this.now });
        if (kind === 'created') this.accepted += 1;
      } catch (thrown) {
        if (thrown instanceof LambentError && thrown.code === 'rate_limit_exceeded') this.refused += 1;
      }
    })();
  }

  /** Ends an open job, in one of the ways in which jobs end, unless the function dies. */
  end({ tenant, id }: Job): void {
    const ports = { jobs: this.#inTurn(this.#jobs), bodies: this.#inTurn(this.#bodies), timings: JOB_TIMINGS };
    const now = () => this.now;
    const way = Math.floor(this.#random() * 3);
    void (async () => {
      if (way === 0) return cancelJob({ ...ports, now }, tenant, id);
      if (way === 1) return deleteJob(ports, tenant, id);
      const claiming = claim({ owner: 'worker', alone: true, whole: true }, now(), JOB_TIMINGS);
      const claimed = await ports.jobs.update(tenant, id, claiming.guard, claiming.change);
      if (claimed === undefined) return undefined;
      const ending = commit(claimed, { status: 'failed', errorCode: 'internal' }, now(), JOB_TIMINGS);
      return ports.jobs.update(tenant, id, ending.guard, ending.change);
    })().catch(() => {});
  }

  /** Lists the jobs that have not ended. */
  listOpen(): Job[] {
    return [...this.entries.values()].flatMap((entry) =>
      'job' in entry && !isTerminal(entry.job.status) ? [entry.job] : [],
    );
  }

  /** Lets everything happen that can. */
  async finish(): Promise<void> {
    for (let idle = 0; idle < 3; ) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#steps.length === 0) {
        idle += 1;
        continue;
      }
      idle = 0;
      const [step] = this.#steps.splice(Math.floor(this.#random() * this.#steps.length), 1);
      if (this.#random() < 0.3) this.now += Math.floor(this.#random() * this.#options.stepMs);
      await step?.();
      this.#onStep();
    }
  }

  /** Expires the overdue jobs that no worker has run, and removes the entries of ended jobs, as the sweep does. */
  async sweep(): Promise<void> {
    const ports = { jobs: this.#jobs, bodies: this.#bodies, timings: JOB_TIMINGS, now: () => this.now, shards: 1 };
    const queue = { send: async (tickets: readonly unknown[]) => tickets.map(() => true) };
    for (let pass = 0; pass < 3; pass += 1) {
      await sweepOnce({ ...ports, queue, steps: {}, onStepFailed: async () => {}, onError: () => {} });
      this.now += HOUR_MS;
    }
    const limitPorts = {
      store: this.counters,
      readState: (tenant: string, id: string) => readJobState(this.#jobs, tenant, id),
      now: () => this.now,
      logger: { summarize: () => {} },
      onError: (_what: string, thrown: unknown) => {
        throw thrown;
      },
    };
    await sweepLimits(limitPorts, Number.POSITIVE_INFINITY);
  }

  /** Returns `ports` whose calls wait for their turn, and may kill the function or fail. */
  #inTurn<T extends object>(ports: T): T {
    return new Proxy(ports, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name);
        if (typeof method !== 'function' || name === 'list') return method;
        return (...args: unknown[]) =>
          new Promise((resolve, reject) => {
            this.#steps.push(async () => {
              const fault = this.#random() < this.faults ? Math.floor(this.#random() * 4) : undefined;
              // The function dies before the call.
              if (fault === 0) return;
              if (fault === 1) return reject(Object.assign(new Error('not sent'), { $metadata: {} }));
              const result: unknown = await Reflect.apply(method, target, args);
              // The function dies, or only the response is lost.
              if (fault === 2) return;
              if (fault === 3) reject(Object.assign(new Error('response lost'), { $metadata: {} }));
              else resolve(result);
            });
          });
      },
    });
  }
}
