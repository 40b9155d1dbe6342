import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { CounterStore } from '../../../shared/limits/counters.ts';
import { JobLedger } from '../../../shared/limits/job-ledger.ts';
import { cleanWholeLedger, type JobState } from '../../../shared/limits/ledger-cleaning.ts';
import { listEntries, listPages, type QueueAmounts } from '../../../shared/limits/ledger-entry.ts';
import { listQueueCaps } from '../../../shared/limits/queue-caps.ts';
import { createRandom } from './limit-world.ts';
import { MemoryCounters } from './memory-counters.ts';

const TENANTS = ['acme', 'beta', 'gamma'];
const KEYS = ['one', 'two'];
const LIMITS = {
  account: { jobsQueued: 40, jobBytesQueued: 9_000, gpuWeightWaiting: 400 },
  project: { jobsQueued: 25, jobBytesQueued: 5_000, gpuWeightWaiting: 300 },
  key: { jobsQueued: 15, jobBytesQueued: 4_000, gpuWeightWaiting: 250 },
};
type Limits = typeof LIMITS.account;

const multiply = (limits: Limits, factor: number): Limits => ({
  jobsQueued: limits.jobsQueued * factor,
  jobBytesQueued: limits.jobBytesQueued * factor,
  gpuWeightWaiting: limits.gpuWeightWaiting * factor,
});
const FAULTS = 0.05;

interface Job {
  readonly tenant: string;
  readonly id: string;
  readonly keyId: string;
  readonly amounts: QueueAmounts;
}

/** Environments whose requests to the table happen in a random order, and fail before or after they were made. */
class LedgerWorld {
  now = Date.UTC(2026, 10, 30);
  readonly store = new MemoryCounters();
  readonly states = new Map<string, JobState>();
  readonly jobs = new Map<string, Job>();
  refused = 0;
  faults = FAULTS;
  readonly limits: Readonly<Record<keyof typeof LIMITS, Limits>>;
  readonly #random: () => number;
  readonly #steps: (() => void)[] = [];
  #pages = 0;

  constructor(seed: number, factor: number) {
    this.#random = createRandom(seed);
    const { account, project, key } = LIMITS;
    this.limits = {
      account: multiply(account, factor),
      project: multiply(project, factor),
      key: multiply(key, factor),
    };
  }

  createLedger(): JobLedger {
    const store: CounterStore = {
      write: (write) => this.#inTurn(() => this.store.write(write)),
      read: (pk) => this.#inTurn(() => this.store.read(pk)),
      list: (prefixes) => this.store.list(prefixes),
    };
    return new JobLedger({
      store,
      readState: async (_tenant, id) => this.states.get(id) ?? 'absent',
      now: () => this.now,
      newId: () => `page${this.#pages++}`,
    });
  }

  pick<T>(values: readonly T[]): T {
    return values[Math.floor(this.#random() * values.length)] as T;
  }

  /** Enters a job and creates it, as a function does that may die between the two. */
  async start(ledger: JobLedger, job: Job): Promise<void> {
    const { account, project, key } = this.limits;
    const caps = listQueueCaps({ account: { limits: account }, project: { limits: project }, key: { limits: key } });
    const refusal = await ledger.enter(job, caps, () => {}).catch(() => 'failed' as const);
    if (refusal === 'failed') return;
    if (refusal !== undefined) {
      this.refused += 1;
      return;
    }
    if (this.#random() < this.faults || this.states.has(job.id)) return;
    this.states.set(job.id, 'open');
    this.jobs.set(job.id, job);
    this.check();
  }

  /** Fails if the open jobs exceed a limit. */
  check(): void {
    const open = [...this.jobs.values()].filter(({ id }) => this.states.get(id) === 'open');
    const expectWithin = (jobs: readonly Job[], limits: Limits): void => {
      const sum = (metric: keyof QueueAmounts) => Number(jobs.reduce((all, { amounts }) => all + amounts[metric], 0n));
      expect(sum('jobs')).toBeLessThanOrEqual(limits.jobsQueued);
      expect(sum('bytes')).toBeLessThanOrEqual(limits.jobBytesQueued);
      expect(sum('weight')).toBeLessThanOrEqual(limits.gpuWeightWaiting);
    };
    expectWithin(open, this.limits.account);
    for (const tenant of TENANTS) {
      const own = open.filter((job) => job.tenant === tenant);
      expectWithin(own, this.limits.project);
      for (const keyId of KEYS)
        expectWithin(
          own.filter((job) => job.keyId === keyId),
          this.limits.key,
        );
    }
  }

  /** Makes all requests that wait, in a random order. Some time passes. */
  async finish(): Promise<void> {
    for (let idle = 0; idle < 3; ) {
      await new Promise((resolve) => setImmediate(resolve));
      const [step] = this.#steps.splice(Math.floor(this.#random() * this.#steps.length), 1);
      idle = step === undefined ? idle + 1 : 0;
      this.now += Math.floor(this.#random() * 100);
      step?.();
    }
  }

  /** Looks at all jobs, as the sweep does. */
  async sweep(): Promise<void> {
    const ports = { store: this.store, readState: async (_: string, id: string) => this.states.get(id) ?? 'absent' };
    for (const tenant of TENANTS) {
      const counters = await this.store.read(`jobs#${tenant}`);
      await cleanWholeLedger({ ...ports, now: () => this.now } as const, tenant, counters, Number.POSITIVE_INFINITY);
    }
  }

  #inTurn<T>(request: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#steps.push(() => {
        const fault = this.#random() < this.faults;
        if (fault && this.#random() < 0.5) {
          reject(new Error('not sent'));
          return;
        }
        void request().then((result) => (fault ? reject(new Error('response lost')) : resolve(result)));
      });
    });
  }
}

/** With the larger limits, entries are moved to pages. */
it.each([
  [1, 12],
  [5, 2],
])(
  'open jobs never exceed limits %i times as large, and all places of ended ones become free',
  async (factor, numRuns) => {
    let refused = 0;
    const run = async (seed: number): Promise<void> => {
      const world = new LedgerWorld(seed, factor);
      const ledgers = [world.createLedger(), world.createLedger(), world.createLedger()];
      const random = createRandom(seed + 1);
      let made = 0;
      const makeJob = (tenant: string, keyId: string): Job => ({
        ...{ tenant, keyId, id: `resp_${made++}` },
        amounts: { jobs: 1n, bytes: BigInt(Math.ceil(random() * 300)), weight: random() < 0.5 ? 0n : 20n },
      });
      for (let round = 0; round < 8; round += 1) {
        const calls: Promise<void>[] = [];
        for (let index = 0; index < 20 * factor; index += 1) {
          const job = makeJob(world.pick(TENANTS), world.pick(KEYS));
          // Some messages are delivered twice.
          for (const ledger of random() < 0.2 ? ledgers.slice(0, 2) : [world.pick(ledgers)])
            calls.push(world.start(ledger, job));
        }
        await world.finish();
        await Promise.all(calls);
        for (const id of world.jobs.keys()) if (random() < 0.3) world.states.set(id, 'ended');
      }
      refused += world.refused;

      for (const id of world.jobs.keys()) world.states.set(id, 'ended');
      world.now += 20 * 60_000;
      world.faults = 0;
      await world.sweep();
      for (const tenant of TENANTS) {
        const counters = await world.store.read(`jobs#${tenant}`);
        expect(listEntries(counters)).toEqual([]);
        expect(listPages(counters)).toEqual([]);
        const sums = Object.entries(counters).filter(([name]) => /^[pk]\./.test(name));
        expect(sums.filter(([, value]) => value !== 0n)).toEqual([]);
      }
      // What the account has granted is the projects' again, or can be.
      world.jobs.clear();
      let entered = 0;
      for (const tenant of TENANTS)
        for (const keyId of KEYS)
          for (let index = 0; index < world.limits.key.jobsQueued; index += 1) {
            world.now += 2_000;
            const job = { ...makeJob(tenant, keyId), amounts: { jobs: 1n, bytes: 1n, weight: 0n } };
            const call = world.start(ledgers[0] as JobLedger, job);
            await world.finish();
            await call;
            entered = world.jobs.size;
          }
      expect(entered).toBe(world.limits.account.jobsQueued);
    };
    await fc.assert(fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 }), run), { numRuns });
    // In about 2% of the worlds, all jobs fit.
    expect(refused).toBeGreaterThan(0);
  },
);
