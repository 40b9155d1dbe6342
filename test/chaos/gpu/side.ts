import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud } from '../../../local/cloud.ts';
import { WORKER_DEFAULTS } from '../../../local/engine/workers.ts';
import { seededRandom } from '../../../local/faults/random.ts';
import { runSchedule } from '../../../local/schedules.ts';
import type { Ledger } from '../ledger.ts';
import type { Questions } from '../questions.ts';
import { startGpuTorment } from './accidents.ts';
import { startChats } from './chats.ts';
import type { GpuEvidence } from './findings.ts';
import { leakedLeases } from './leases.ts';
import { gpuQuestions, MODEL } from './questions.ts';
import { startGpuWorkers } from './workers.ts';

export interface GpuSideOptions {
  /** Workers that serve at once. */
  readonly workers: number;
  /** Requests that each takes at once. */
  readonly slots: number;
  /** How many times faster than its GPU each is. */
  readonly speed: number;
  /** Mean seconds between two accidents of workers and of those who ask them; 0 for none. */
  readonly accidentEverySeconds: number;
}

/** GPU workers and all that goes with them in a run. */
export interface GpuSide {
  /** For `models.json`. */
  readonly models: object;
  readonly fleets: object;
  /** Variables of functions. */
  readonly environment: Readonly<Record<string, string>>;
  readonly questions: Questions;
  /** Begins accidents, chats and the upkeep of the registry. */
  begin(cloud: Cloud, ledger: Ledger): GpuRun;
  close(): Promise<void>;
}

export interface GpuRun {
  /** Ends the accidents: all workers serve again, and no dispatcher is frozen. */
  calm(): Promise<void>;
  /** Ends the chats, and finds out what there was, when all jobs have ended. */
  evidence(): Promise<GpuEvidence>;
  /** Ends what is still running. */
  close(): Promise<void>;
}

const FLEET = 'chaos';
const KEY_VARIABLE = 'CHAOS_WORKERS_KEY';

/** As they are in AWS, to be hurried. */
const STALL_MS = 20_000;
const WAIT_MS = 10_000;
const TIMEOUT_MS = 300_000;
const JOB_LEASE_MS = 45_000;
const UPKEEP_EVERY_MS = 60_000;
/** A lease, what the upkeep leaves it on top, and two runs of that. */
const LEASES_GONE_MS = 45_000 + 60_000 + 2 * UPKEEP_EVERY_MS;
/** What a busy machine may take. */
const PATIENCE_MS = 20_000;

/** Starts GPU workers for a run, with their journals in a folder of `folder`. */
export async function startGpuSide(
  options: GpuSideOptions & { readonly seed: number; readonly hurry: number },
  folder: string,
): Promise<GpuSide> {
  const { workers: count, slots, speed, seed, hurry } = options;
  const journals = join(folder, 'journals');
  await mkdir(journals);
  const workers = await startGpuWorkers({ count, slots, speed, journals, random: seededRandom(seed + 300) });
  const hurried = (ms: number) => Math.ceil(ms / hurry);
  const target = { provider: 'gpu', model: WORKER_DEFAULTS.model, fleet: FLEET };
  const stallMs = hurried(STALL_MS);
  let calls: GpuEvidence['calls'] = [];
  return {
    models: { [MODEL]: { targets: [target], timeoutMs: hurried(TIMEOUT_MS) } },
    fleets: {
      [FLEET]: { workers: workers.addresses, apiKey: `env:${KEY_VARIABLE}`, stallMs, waitMs: hurried(WAIT_MS) },
    },
    environment: { [KEY_VARIABLE]: workers.apiKey },
    questions: gpuQuestions(() => calls),
    begin(cloud, ledger) {
      const upkeep = startUpkeep(cloud, hurried(UPKEEP_EVERY_MS));
      const chats = startChats(cloud, seededRandom(seed + 400));
      const torment = startGpuTorment(
        { cloud, workers, onFreeze: ledger.frozen },
        {
          everySeconds: options.accidentEverySeconds,
          stallMs,
          leaseMs: hurried(JOB_LEASE_MS),
          random: seededRandom(seed + 500),
        },
      );
      const calm = async () => {
        await torment.end();
        await workers.settle();
      };
      return {
        calm,
        async evidence() {
          await chats.end();
          const leaked = await leakedLeases(cloud, FLEET, hurried(LEASES_GONE_MS) + PATIENCE_MS);
          calls = await workers.calls();
          return { calls, accidents: torment, chats: chats.counts, leakedLeases: leaked };
        },
        async close() {
          upkeep.end();
          await Promise.all([calm(), chats.end()]);
        },
      };
    },
    close: workers.close,
  };
}

/** Runs `fleet` as its schedule does. A run that fails is followed by the next when that is due. */
function startUpkeep(cloud: Cloud, everyMs: number): { end(): void } {
  const ended = new AbortController();
  async function keep(): Promise<void> {
    while (!ended.signal.aborted) {
      const due = sleep(everyMs, undefined, { signal: ended.signal }).catch(() => {});
      await runSchedule({ function: 'fleet', expression: '', input: undefined }, 'eu-west-1', cloud);
      await due;
    }
  }
  void keep();
  return { end: () => ended.abort() };
}
