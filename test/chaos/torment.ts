import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud } from '../../local/cloud.ts';
import type { FaultyService } from '../../local/faults/answers.ts';
import type { FaultShares } from '../../local/faults/proxy.ts';
import { repeatedly } from './repeatedly.ts';
import { type ChaosUpstream, NO_TROUBLE } from './upstream.ts';

/**
 * What services and upstreams do:
 * - `fair`: what they are asked;
 * - `changing`: they throttle, fail and cut, now these and now those;
 * - `throttling`: all throttle most requests, half of the time, and do nothing else.
 */
export const WEATHERS = ['fair', 'changing', 'throttling'] as const;
export type Weather = (typeof WEATHERS)[number];

/** What is done to the cloud; 0 seconds is never. */
export interface TormentOptions {
  /** Mean seconds between two kills. */
  readonly killEverySeconds: number;
  /** Mean seconds between two losses of everything that is in the queues. */
  readonly restartEverySeconds: number;
  readonly weather: Weather;
  /** 0 up to 1. */
  readonly random: () => number;
}

/** What was done. */
export interface Torments {
  /** Processes killed, by function. */
  readonly kills: Readonly<Record<string, number>>;
  /** Epoch milliseconds at which the queues came back empty. */
  readonly restarts: readonly number[];
}

export interface Torment extends Torments {
  /** Ends it: every fault is taken away, and the queues are up. */
  end(): Promise<void>;
}

export interface Victims {
  readonly cloud: Cloud;
  readonly upstream: ChaosUpstream;
  /** Called just before a process is killed, with the id of each invocation that it works on. */
  readonly onKill: (requestId: string) => void;
  /** Called when the queues are back, empty. */
  readonly onRestart: () => Promise<void>;
}

const SERVICES: readonly FaultyService[] = ['dynamodb', 'sqs', 'kms', 's3'];
/** How long the weather stays the same. */
const WEATHER_MS = 3_000;
/** The longest that SQS is away for. */
const LONGEST_OUTAGE_MS = 1_500;

/** Begins to torment a cloud, until it is ended. */
export function startTorment({ cloud, upstream, onKill, onRestart }: Victims, options: TormentOptions): Torment {
  const { killEverySeconds, restartEverySeconds, weather, random } = options;
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
      // It ended by itself a moment ago.
    }
  }

  async function restart(): Promise<void> {
    await cloud.restartQueues(random() * LONGEST_OUTAGE_MS);
    restarts.push(Date.now());
    await onRestart();
  }

  async function changeWeather(): Promise<void> {
    for (let turn = 0; weather !== 'fair' && !ended.signal.aborted; turn += 1) {
      if (weather === 'changing') change(cloud, upstream, random);
      else throttle(cloud, upstream, turn % 2 === 0);
      await sleep(WEATHER_MS, undefined, { signal: ended.signal }).catch(() => {});
    }
  }

  const running = Promise.all([
    repeatedly(killEverySeconds, kill, random, ended.signal),
    repeatedly(restartEverySeconds, restart, random, ended.signal),
    changeWeather(),
  ]);
  return {
    kills,
    restarts,
    async end() {
      ended.abort();
      await running;
      for (const service of SERVICES) cloud.faults?.set(service, {});
      upstream.set(NO_TROUBLE);
    },
  };
}

function change(cloud: Cloud, upstream: ChaosUpstream, random: () => number): void {
  for (const service of SERVICES) cloud.faults?.set(service, random() < 0.4 ? {} : bad(random));
  upstream.set({
    throttled: random() < 0.2 ? 0.9 : random() * 0.2,
    overloaded: random() * 0.05,
    refused: random() * 0.03,
    cut: random() * 0.05,
  });
}

/** So much that the SDK's three attempts fail as often as not. */
function throttle(cloud: Cloud, upstream: ChaosUpstream, stormy: boolean): void {
  for (const service of SERVICES) cloud.faults?.set(service, { throttled: stormy ? 0.6 : 0.3 });
  upstream.set({ ...NO_TROUBLE, throttled: stormy ? 0.95 : 0.5 });
}

/** One kind of trouble is worse than the others. */
function bad(random: () => number): FaultShares {
  const worst = Math.floor(random() * 4);
  const share = (kind: number, most: number) => random() * (kind === worst ? most : most / 10);
  return {
    throttled: share(0, 0.4),
    failed: share(1, 0.2),
    cutBefore: share(2, 0.1),
    cutAfter: share(3, 0.1),
  };
}
