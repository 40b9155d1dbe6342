import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud } from '../../local/cloud.ts';
import type { FaultyService } from '../../local/faults/fault-responses.ts';
import type { FaultShares } from '../../local/faults/proxy.ts';
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
}

export interface FaultInjection extends InjectedFaults {
  /** Stops injecting faults, removes those in force, and waits until SQS is up. */
  stop(): Promise<void>;
}

export interface FaultTargets {
  readonly cloud: Cloud;
  readonly upstream: ChaosUpstream;
  /** Called just before a process is killed, with the id of each of its invocations. */
  readonly onKill: (requestId: string) => void;
  /** Called when SQS is back, with empty queues. */
  readonly onRestart: () => Promise<void>;
}

const SERVICES: readonly FaultyService[] = ['dynamodb', 'sqs', 'kms', 's3'];
/** Milliseconds for which the shares of faults stay the same. */
const MIX_MS = 3_000;
/** The longest outage of SQS, in milliseconds. */
const LONGEST_OUTAGE_MS = 1_500;

/** Injects faults into a cloud until stopped. */
export function startFaultInjection(
  { cloud, upstream, onKill, onRestart }: FaultTargets,
  options: FaultInjectionOptions,
): FaultInjection {
  const { killEverySeconds, restartEverySeconds, faultMix, random } = options;
  const ended = new AbortController();
  const kills: Record<string, number> = {};
  const restarts: number[] = [];

  function kill(): void {
    const processes = cloud.processes().filter(({ pid }) => pid > 0);
    const victim = processes[Math.floor(random() * processes.length)];
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

  async function changeFaults(): Promise<void> {
    for (let turn = 0; faultMix !== 'none' && !ended.signal.aborted; turn += 1) {
      if (faultMix === 'changing') setRandomFaults(cloud, upstream, random);
      else setThrottling(cloud, upstream, turn % 2 === 0);
      await sleep(MIX_MS, undefined, { signal: ended.signal }).catch(() => {});
    }
  }

  const running = Promise.all([
    repeatRandomly(killEverySeconds, kill, random, ended.signal),
    repeatRandomly(restartEverySeconds, restart, random, ended.signal),
    changeFaults(),
  ]);
  return {
    kills,
    restarts,
    async stop() {
      ended.abort();
      await running;
      for (const service of SERVICES) cloud.faults?.set(service, {});
      upstream.set(NO_FAULTS);
    },
  };
}

function setRandomFaults(cloud: Cloud, upstream: ChaosUpstream, random: () => number): void {
  for (const service of SERVICES) cloud.faults?.set(service, random() < 0.4 ? {} : createRandomFaultShares(random));
  upstream.set({
    throttled: random() < 0.2 ? 0.9 : random() * 0.2,
    overloaded: random() * 0.05,
    refused: random() * 0.03,
    cut: random() * 0.05,
  });
}

/** Sets the shares of throttled requests of `throttling`. */
function setThrottling(cloud: Cloud, upstream: ChaosUpstream, heavy: boolean): void {
  for (const service of SERVICES) cloud.faults?.set(service, { throttled: heavy ? 0.6 : 0.3 });
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
