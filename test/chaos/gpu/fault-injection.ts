import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud } from '../../../local/cloud.ts';
import { repeatRandomly } from '../repeat-randomly.ts';
import type { GpuWorkers } from './workers.ts';

export interface GpuFaultOptions {
  /** Mean seconds between two faults; 0 for never. */
  readonly everySeconds: number;
  /** After this many milliseconds without a token, the service considers a worker hung. */
  readonly stallMs: number;
  /** The lease of a job, in milliseconds. */
  readonly leaseMs: number;
  /** 0 up to 1. */
  readonly random: () => number;
}

/** A fault of a worker's process. */
export interface WorkerFault {
  readonly kind: 'killed' | 'hung';
  readonly start: string;
  /** Epoch milliseconds. */
  readonly at: number;
  /** Epoch milliseconds at which a hung worker resumes; infinite after a kill. */
  readonly until: number;
}

/** A dispatcher that was stopped for a while. */
export interface DispatcherFault {
  /** Id of its invocation. */
  readonly requestId: string;
  /** Epoch milliseconds. */
  readonly at: number;
  until: number;
}

export interface InjectedGpuFaults {
  readonly workers: readonly WorkerFault[];
  readonly dispatchers: readonly DispatcherFault[];
  /** Number of workers that returned at another address. */
  readonly moved: number;
}

export interface GpuFaultInjection extends InjectedGpuFaults {
  /** Stops injecting faults and resumes dispatchers. Workers return when their fault ends. */
  stop(): Promise<void>;
}

export interface GpuFaultTargets {
  readonly cloud: Pick<Cloud, 'processes'>;
  readonly workers: GpuWorkers;
  /**
   * Called just before a process is stopped, with its invocation's id. Resolves when another invocation takes over its
   * job.
   */
  readonly onFreeze: (requestId: string) => Promise<void>;
}

/** A killed worker returns after this many milliseconds at most. */
const LONGEST_AWAY_MS = 4_000;
/** A dispatcher that is stopped until a takeover resumes at most this many milliseconds after the takeover. */
const LATE_MS = 500;
/** It resumes after this many leases even without a takeover. */
const LONGEST_FREEZE = 3;

/** Injects faults into workers and dispatchers until stopped. */
export function startGpuFaultInjection(
  { cloud, workers, onFreeze }: GpuFaultTargets,
  options: GpuFaultOptions,
): GpuFaultInjection {
  const { everySeconds, stallMs, leaseMs, random } = options;
  const ended = new AbortController();
  const faults: WorkerFault[] = [];
  const dispatchers: DispatcherFault[] = [];
  /** Functions that resume stopped processes, by process id. */
  const frozen = new Map<number, () => void>();
  let moved = 0;

  function pickWorker(): string | undefined {
    const running = workers.running().filter(({ isStopped }) => !isStopped);
    return running[Math.floor(random() * running.length)]?.start;
  }

  function kill(): void {
    const start = pickWorker();
    const [awayMs, elsewhere] = [random() * LONGEST_AWAY_MS, random() < 0.4];
    if (start === undefined) return;
    const at = Date.now();
    workers.kill(start, awayMs, elsewhere);
    if (elsewhere) moved += 1;
    faults.push({ kind: 'killed', start, at, until: Number.POSITIVE_INFINITY });
  }

  /** Stops a worker: half of the time too briefly to be noticed. */
  function hang(): void {
    const start = pickWorker();
    const ms = random() * 2 * stallMs;
    if (start === undefined) return;
    const at = Date.now();
    workers.hang(start, ms);
    faults.push({ kind: 'hung', start, at, until: at + ms });
  }

  /**
   * Stops a dispatcher for a random time, shorter or longer than its lease, or until just after a takeover, so that it
   * writes late while the job still runs.
   */
  function freeze(): void {
    const busy = cloud.processes().filter((each) => each.function === 'dispatch' && each.busy && !frozen.has(each.pid));
    const victim = busy[Math.floor(random() * busy.length)];
    const [ms, lateMs, untilTakeover] = [random() * 2 * leaseMs, random() * LATE_MS, random() < 0.5];
    const [requestId] = victim?.requestIds ?? [];
    if (victim === undefined || requestId === undefined) return;
    const { pid } = victim;
    const fault = { requestId, at: Date.now(), until: Number.POSITIVE_INFINITY };
    dispatchers.push(fault);
    const takeover = onFreeze(requestId);
    sendSignal(pid, 'SIGSTOP');
    const thaw = (): void => {
      clearTimeout(timer);
      frozen.delete(pid);
      fault.until = Date.now();
      sendSignal(pid, 'SIGCONT');
    };
    const timer = setTimeout(thaw, untilTakeover ? LONGEST_FREEZE * leaseMs : ms);
    frozen.set(pid, thaw);
    if (untilTakeover) void takeover.then(() => sleep(lateMs)).then(() => frozen.get(pid) === thaw && thaw());
  }

  function injectFault(): void {
    const which = random();
    if (which < 0.5) kill();
    else if (which < 0.8) hang();
    else freeze();
  }

  const thawAll = (): void => {
    for (const thaw of frozen.values()) thaw();
  };
  // A process that is stopped when this one exits would stay stopped.
  process.once('exit', thawAll);
  const running = repeatRandomly(everySeconds, injectFault, random, ended.signal);
  return {
    workers: faults,
    dispatchers,
    get moved() {
      return moved;
    },
    async stop() {
      ended.abort();
      await running;
      thawAll();
      process.off('exit', thawAll);
    },
  };
}

function sendSignal(pid: number, name: 'SIGSTOP' | 'SIGCONT'): void {
  try {
    process.kill(pid, name);
  } catch {
    // It was killed in the meantime.
  }
}
