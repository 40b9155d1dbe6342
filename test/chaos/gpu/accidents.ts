import { setTimeout as sleep } from 'node:timers/promises';
import type { Cloud } from '../../../local/cloud.ts';
import { repeatedly } from '../repeatedly.ts';
import type { GpuWorkers } from './workers.ts';

export interface GpuAccidentOptions {
  /** Mean seconds between two accidents; 0 for none. */
  readonly everySeconds: number;
  /** After so many milliseconds without a token a worker is taken to hang. */
  readonly stallMs: number;
  /** Of a job, in milliseconds. */
  readonly leaseMs: number;
  /** 0 up to 1. */
  readonly random: () => number;
}

/** An accident of a worker's process. */
export interface WorkerAccident {
  readonly what: 'killed' | 'hung';
  readonly start: string;
  /** Epoch milliseconds. */
  readonly at: number;
  /** Until when it hangs; its death has no end. */
  readonly until: number;
}

/** A dispatcher that was stopped, and went on unless it was killed. */
export interface DispatcherAccident {
  /** Id of the invocation that it served. */
  readonly requestId: string;
  /** Epoch milliseconds. */
  readonly at: number;
  until: number;
}

export interface GpuAccidents {
  readonly workers: readonly WorkerAccident[];
  readonly dispatchers: readonly DispatcherAccident[];
  /** Workers that came back at another address. */
  readonly moved: number;
}

export interface GpuTorment extends GpuAccidents {
  /** Ends it: dispatchers go on. Workers that are away or hang are on their way back. */
  end(): Promise<void>;
}

export interface GpuVictims {
  readonly cloud: Pick<Cloud, 'processes'>;
  readonly workers: GpuWorkers;
  /** Called just before a process is stopped, with the id of its invocation; resolves when another takes over from that. */
  readonly onFreeze: (requestId: string) => Promise<void>;
}

/** A worker that dies is back after these milliseconds at most. */
const LONGEST_AWAY_MS = 4_000;
/** A dispatcher that is taken over from goes on so many milliseconds later at most; or after so many leases in any case. */
const LATE_MS = 500;
const LONGEST_FREEZE = 3;

/** Begins to torment workers, and those who have work for them, until it is ended. */
export function startGpuTorment({ cloud, workers, onFreeze }: GpuVictims, options: GpuAccidentOptions): GpuTorment {
  const { everySeconds, stallMs, leaseMs, random } = options;
  const ended = new AbortController();
  const accidents: WorkerAccident[] = [];
  const dispatchers: DispatcherAccident[] = [];
  /** What has them go on, by process id. */
  const frozen = new Map<number, () => void>();
  let moved = 0;

  function someWorker(): string | undefined {
    const running = workers.running().filter(({ isStopped }) => !isStopped);
    return running[Math.floor(random() * running.length)]?.start;
  }

  function kill(): void {
    const start = someWorker();
    const [awayMs, elsewhere] = [random() * LONGEST_AWAY_MS, random() < 0.4];
    if (start === undefined) return;
    const at = Date.now();
    workers.kill(start, awayMs, elsewhere);
    if (elsewhere) moved += 1;
    accidents.push({ what: 'killed', start, at, until: Number.POSITIVE_INFINITY });
  }

  /** As often too short to be noticed as not. */
  function hang(): void {
    const start = someWorker();
    const ms = random() * 2 * stallMs;
    if (start === undefined) return;
    const at = Date.now();
    workers.hang(start, ms);
    accidents.push({ what: 'hung', start, at, until: at + ms });
  }

  /**
   * Stops a dispatcher for longer or shorter than its leases last; or until a moment after another has taken over from it, when
   * what it then says is late, and the job not over yet.
   */
  function freeze(): void {
    const busy = cloud.processes().filter((each) => each.function === 'dispatch' && each.busy && !frozen.has(each.pid));
    const victim = busy[Math.floor(random() * busy.length)];
    const [ms, afterMs, waits] = [random() * 2 * leaseMs, random() * LATE_MS, random() < 0.5];
    const [requestId] = victim?.requestIds ?? [];
    if (victim === undefined || requestId === undefined) return;
    const { pid } = victim;
    const accident = { requestId, at: Date.now(), until: Number.POSITIVE_INFINITY };
    dispatchers.push(accident);
    const taken = onFreeze(requestId);
    signal(pid, 'SIGSTOP');
    const thaw = (): void => {
      clearTimeout(timer);
      frozen.delete(pid);
      accident.until = Date.now();
      signal(pid, 'SIGCONT');
    };
    const timer = setTimeout(thaw, waits ? LONGEST_FREEZE * leaseMs : ms);
    frozen.set(pid, thaw);
    if (waits) void taken.then(() => sleep(afterMs)).then(() => frozen.get(pid) === thaw && thaw());
  }

  function befall(): void {
    const which = random();
    if (which < 0.5) kill();
    else if (which < 0.8) hang();
    else freeze();
  }

  const thawAll = (): void => {
    for (const thaw of frozen.values()) thaw();
  };
  // Who is stopped when this process ends would never hear of it.
  process.once('exit', thawAll);
  const running = repeatedly(everySeconds, befall, random, ended.signal);
  return {
    workers: accidents,
    dispatchers,
    get moved() {
      return moved;
    },
    async end() {
      ended.abort();
      await running;
      thawAll();
      process.off('exit', thawAll);
    },
  };
}

function signal(pid: number, name: 'SIGSTOP' | 'SIGCONT'): void {
  try {
    process.kill(pid, name);
  } catch {
    // It was killed meanwhile.
  }
}
