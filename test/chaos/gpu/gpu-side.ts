import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud } from '../../../local/cloud.ts';
import { WORKER_DEFAULTS } from '../../../local/engine/workers.ts';
import { createSeededRandom } from '../../../local/faults/random.ts';
import { runSchedule } from '../../../local/schedules.ts';
import type { Ledger } from '../ledger.ts';
import type { Questions } from '../questions.ts';
import { startChats } from './chats.ts';
import { startGpuFaultInjection } from './fault-injection.ts';
import type { GpuEvidence } from './findings.ts';
import { countLeakedLeases } from './leaked-leases.ts';
import { createGpuQuestions, MODEL } from './questions.ts';
import { startGpuWorkers } from './workers.ts';

export interface GpuSideOptions {
  /** Number of workers that serve. */
  readonly workers: number;
  /** Concurrent requests of each worker. */
  readonly slots: number;
  /** Speed of each worker relative to its GPU. */
  readonly speed: number;
  /** Mean seconds between two faults of workers or dispatchers; 0 for never. */
  readonly faultEverySeconds: number;
}

/** The GPU workers of a run, and everything that belongs to them. */
export interface GpuSide {
  /** For `models.json`. */
  readonly models: object;
  readonly fleets: object;
  /** Environment variables of functions. */
  readonly environment: Readonly<Record<string, string>>;
  readonly questions: Questions;
  /** Starts faults, chats and the upkeep of the registry. */
  start(cloud: Cloud, ledger: Ledger): GpuRun;
  close(): Promise<void>;
}

export interface GpuRun {
  /** Stops the faults, and waits until all workers serve. */
  stopFaults(): Promise<void>;
  /** Stops the chats and collects the evidence, after all jobs have ended. */
  collectEvidence(): Promise<GpuEvidence>;
  /** Stops everything that still runs. */
  close(): Promise<void>;
}

const FLEET = 'chaos';
const KEY_VARIABLE = 'CHAOS_WORKERS_KEY';

/** Values in AWS, which are divided by `divisor`. */
const STALL_MS = 20_000;
const WAIT_MS = 10_000;
const TIMEOUT_MS = 300_000;
const JOB_LEASE_MS = 45_000;
const UPKEEP_EVERY_MS = 60_000;
/** No lease remains after this time: a lease, the upkeep's grace period, and two runs of the upkeep. */
const LEASES_GONE_MS = 45_000 + 60_000 + 2 * UPKEEP_EVERY_MS;
/** The extra time that a busy machine may need. */
const MARGIN_MS = 20_000;

/** Starts GPU workers for a run, with their journals in a folder of `folder`. */
export async function startGpuSide(
  options: GpuSideOptions & { readonly seed: number; readonly divisor: number },
  folder: string,
): Promise<GpuSide> {
  const { workers: count, slots, speed, seed, divisor } = options;
  const journals = join(folder, 'journals');
  await mkdir(journals);
  const workers = await startGpuWorkers({ count, slots, speed, journals, random: createSeededRandom(seed + 300) });
  const divide = (ms: number) => Math.ceil(ms / divisor);
  const target = { provider: 'gpu', model: WORKER_DEFAULTS.model, fleet: FLEET };
  const stallMs = divide(STALL_MS);
  let calls: GpuEvidence['calls'] = [];
  return {
    models: { [MODEL]: { targets: [target], timeoutMs: divide(TIMEOUT_MS) } },
    fleets: {
      [FLEET]: { workers: workers.addresses, apiKey: `env:${KEY_VARIABLE}`, stallMs, waitMs: divide(WAIT_MS) },
    },
    environment: { [KEY_VARIABLE]: workers.apiKey },
    questions: createGpuQuestions(() => calls),
    start(cloud, ledger) {
      const upkeep = startUpkeep(cloud, divide(UPKEEP_EVERY_MS));
      const chats = startChats(cloud, createSeededRandom(seed + 400));
      const injection = startGpuFaultInjection(
        { cloud, workers, onFreeze: ledger.noteFreeze },
        {
          everySeconds: options.faultEverySeconds,
          stallMs,
          leaseMs: divide(JOB_LEASE_MS),
          random: createSeededRandom(seed + 500),
        },
      );
      const stopFaults = async () => {
        await injection.stop();
        await workers.waitUntilAllServe();
      };
      return {
        stopFaults,
        async collectEvidence() {
          await chats.stop();
          const leaked = await countLeakedLeases(cloud, FLEET, divide(LEASES_GONE_MS) + MARGIN_MS);
          calls = await workers.calls();
          return { calls, faults: injection, chats: chats.counts, leakedLeases: leaked };
        },
        async close() {
          upkeep.end();
          await Promise.all([stopFaults(), chats.stop()]);
        },
      };
    },
    close: workers.close,
  };
}

/** Runs `fleet` as its schedule does. */
function startUpkeep(cloud: Cloud, everyMs: number): { end(): void } {
  const ended = new AbortController();
  async function runRepeatedly(): Promise<void> {
    while (!ended.signal.aborted) {
      const due = sleep(everyMs, undefined, { signal: ended.signal }).catch(() => {});
      await runSchedule({ function: 'fleet', expression: '', input: undefined }, 'eu-west-1', cloud);
      await due;
    }
  }
  void runRepeatedly();
  return { end: () => ended.abort() };
}
