import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud } from '../../local/cloud.ts';
import type { FaultyService } from '../../local/faults/fault-responses.ts';
import type { Faults } from '../../local/faults/faults.ts';
import type { FaultShares } from '../../local/faults/proxy.ts';
import type { FunctionProcess } from '../../local/lambda/runner.ts';
import { repeatRandomly } from './repeat-randomly.ts';
import { type ChaosUpstream, NO_FAULTS } from './upstream.ts';

/**
 * The faults of services and upstreams:
 * - `none`: no faults;
 * - `changing`: throttling, errors and cut connections, in shares that change every few seconds;
 * - `throttling`: every service throttles 60% of requests and the upstream 95%, then 30% and 50%, in turn.
 */
export const FAULT_MIXES = ['none', 'changing', 'throttling'] as const;
export type FaultMix = (typeof FAULT_MIXES)[number];

/** The faults to inject. 0 seconds means never. */
export interface FaultInjectionOptions {
  /** Mean seconds between two kills. */
  readonly killEverySeconds: number;
  /** Mean seconds between two restarts of SQS, which lose every message. */
  readonly restartEverySeconds: number;
  /** Mean seconds between the end of a brownout and the next one. */
  readonly brownoutEverySeconds: number;
  /** Divides the service's recovery intervals, and the lengths of brownouts. */
  readonly divisor: number;
  readonly faultMix: FaultMix;
  /** 0 up to 1. */
  readonly random: () => number;
}

/** The faults that were injected. */
export interface InjectedFaults {
  /** Number of killed processes by function. */
  readonly kills: Readonly<Record<string, number>>;
  /** Epoch milliseconds at which SQS was back, with empty queues. */
  readonly restarts: readonly number[];
  /** Number of brownouts by service and kind. */
  readonly brownouts: Readonly<Record<string, number>>;
}

export interface FaultInjection extends InjectedFaults {
  /** Kills the process that runs an invocation. Faults need not be in force for it. */
  killInvocation(requestId: string | undefined): void;
  /** Stops injecting faults, removes those in force, and waits until SQS is up. */
  stop(): Promise<void>;
}

export interface FaultTargets {
  readonly cloud: Pick<Cloud, 'processes' | 'restartQueues'> & { readonly faults: Pick<Faults, 'set'> | undefined };
  readonly upstream: Pick<ChaosUpstream, 'set'>;
  /** Called just before a process is killed, with the id of each of its invocations. */
  readonly onKill: (requestId: string) => void;
  /** Called when SQS is back, with empty queues. */
  readonly onRestart: () => Promise<void>;
  /** Epoch milliseconds of the last change of a job. */
  readonly lastSeenAt: () => number;
}

const SERVICES: readonly FaultyService[] = ['dynamodb', 'sqs', 'kms', 's3'];
/** Milliseconds for which the shares of faults stay the same. */
const MIX_MS = 3_000;
/** The longest outage of SQS, in milliseconds. */
const LONGEST_OUTAGE_MS = 1_500;

/** What a service does in a brownout. */
const BROWNOUT_SHARES: Readonly<Record<string, FaultShares>> = {
  slow: { slow: 1 },
  failing: { failed: 0.8 },
  away: { cutBefore: 1 },
};
const BROWNOUTS = SERVICES.flatMap((service) =>
  Object.entries(BROWNOUT_SHARES).map(([kind, shares]) => ({ service, shares, name: `${service} ${kind}` })),
);
/** Prime to the number of brownouts, so that all of them come before the first comes again, and services alternate. */
const BROWNOUT_STEP = 5;
/** The shortest and the longest brownout in AWS, in seconds. */
const BROWNOUT_SECONDS = [5, 120] as const;

/** Injects faults into a cloud until stopped. */
export function startFaultInjection(
  { cloud, upstream, onKill, onRestart, lastSeenAt }: FaultTargets,
  options: FaultInjectionOptions,
): FaultInjection {
  const { killEverySeconds, restartEverySeconds, brownoutEverySeconds, divisor, faultMix, random } = options;
  const ended = new AbortController();
  const kills: Record<string, number> = {};
  const restarts: number[] = [];
  const brownouts: Record<string, number> = {};
  let nextBrownout = Math.floor(random() * BROWNOUTS.length);
  let inBrownout: FaultyService | undefined;

  function kill(): void {
    const processes = cloud.processes().filter(({ pid }) => pid > 0);
    killProcess(processes[Math.floor(random() * processes.length)]);
  }

  function killProcess(victim: FunctionProcess | undefined): void {
    if (victim === undefined) return;
    for (const requestId of victim.requestIds) onKill(requestId);
    kills[victim.function] = (kills[victim.function] ?? 0) + 1;
    try {
      process.kill(victim.pid, 'SIGKILL');
    } catch {
      // It exited a moment ago.
    }
  }

  async function restart(): Promise<void> {
    await cloud.restartQueues(random() * LONGEST_OUTAGE_MS);
    restarts.push(Date.now());
    await onRestart();
  }

  async function brownOut(): Promise<void> {
    const brownout = BROWNOUTS[nextBrownout % BROWNOUTS.length];
    if (brownout === undefined) return;
    nextBrownout += BROWNOUT_STEP;
    const { service, shares, name } = brownout;
    const [shortest, longest] = BROWNOUT_SECONDS;
    const seconds = shortest * (longest / shortest) ** random();
    brownouts[name] = (brownouts[name] ?? 0) + 1;
    inBrownout = service;
    cloud.faults?.set(service, shares);
    await sleep((seconds * 1000) / divisor, undefined, { signal: ended.signal }).catch(() => {});
    inBrownout = undefined;
    cloud.faults?.set(service, {});
  }

  function setShares(service: FaultyService, shares: FaultShares): void {
    if (service !== inBrownout) cloud.faults?.set(service, shares);
  }

  async function changeFaults(): Promise<void> {
    for (let turn = 0; faultMix !== 'none' && !ended.signal.aborted; turn += 1) {
      if (faultMix === 'changing') setRandomFaults(setShares, upstream, random);
      else setThrottling(setShares, upstream, turn % 2 === 0);
      await sleep(MIX_MS, undefined, { signal: ended.signal }).catch(() => {});
    }
  }

  /**
   * Returns an act that is left out if no job has changed since it was last done. On a busy machine, functions may need longer than
   * the time between two faults to do anything.
   */
  function unlessStuck(act: () => void | Promise<void>): () => void | Promise<void> {
    let doneAt = 0;
    return () => {
      if (lastSeenAt() <= doneAt) return;
      doneAt = Date.now();
      return act();
    };
  }

  const running = Promise.all([
    repeatRandomly(killEverySeconds, unlessStuck(kill), random, ended.signal),
    repeatRandomly(restartEverySeconds, unlessStuck(restart), random, ended.signal),
    repeatRandomly(brownoutEverySeconds, brownOut, random, ended.signal),
    changeFaults(),
  ]);
  return {
    kills,
    restarts,
    brownouts,
    killInvocation(requestId) {
      if (requestId === undefined) return;
      killProcess(cloud.processes().find(({ requestIds }) => requestIds.includes(requestId)));
    },
    async stop() {
      ended.abort();
      await running;
      for (const service of SERVICES) cloud.faults?.set(service, {});
      upstream.set(NO_FAULTS);
    },
  };
}

function setRandomFaults(set: Faults['set'], upstream: FaultTargets['upstream'], random: () => number): void {
  for (const service of SERVICES) set(service, random() < 0.4 ? {} : createRandomFaultShares(random));
  upstream.set({
    throttled: random() < 0.2 ? 0.9 : random() * 0.2,
    overloaded: random() * 0.05,
    refused: random() * 0.03,
    cut: random() * 0.05,
  });
}

/** Sets the shares of throttled requests of `throttling`. */
function setThrottling(set: Faults['set'], upstream: FaultTargets['upstream'], heavy: boolean): void {
  for (const service of SERVICES) set(service, { throttled: heavy ? 0.6 : 0.3 });
  upstream.set({ ...NO_FAULTS, throttled: heavy ? 0.95 : 0.5 });
}

/** Returns random shares, in which one kind of fault is ten times as likely as the others. */
function createRandomFaultShares(random: () => number): FaultShares {
  const main = Math.floor(random() * 4);
  const pickShare = (kind: number, most: number) => random() * (kind === main ? most : most / 10);
  return {
    throttled: pickShare(0, 0.4),
    failed: pickShare(1, 0.2),
    cutBefore: pickShare(2, 0.1),
    cutAfter: pickShare(3, 0.1),
  };
}
