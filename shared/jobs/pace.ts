import { BoundedMap } from '../core/bounded-map.ts';
import type { PaceState, PaceTable, PaceWrite } from './pace-table.ts';

/**
 * Limits how often jobs ask a model that throttles, over all environments. Its methods never throw: without the shared state
 * each environment limits itself.
 */
export interface Pace {
  /** Asks for a permit to call a model. Returns the epoch milliseconds until which to wait instead, if there is none. */
  admit(model: string): Promise<number | undefined>;
  /** Returns a permit with which the model was not called. */
  giveBack(model: string): void;
  /** Records that a model began to answer. */
  accepted(model: string): void;
  /** Records that a model throttled a call. */
  throttled(model: string, retryAfterMs: number | undefined): void;
}

/** Options of `createPace`. */
export interface PaceOptions {
  readonly table: PaceTable;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Returns a number from 0 up to 1. */
  readonly random: () => number;
  readonly onError: (what: string, thrown: unknown) => void;
}

/** Permits are counted in windows of this length. */
const WINDOW_MS = 1_000;
/** A model that was not throttled for so long is asked without permits. */
const QUIET_MS = 60_000;
/** An environment whose call was throttled looks for so long whether others are throttled later. */
const WATCH_MS = 600_000;
/** Between two such looks. */
const LOOK_MS = 5_000;
/** Throttled calls are recorded in the table at most this often, unless they make the model rest for longer. */
const THROTTLE_RECORD_MS = 10_000;
const REST_RECORD_MS = 250;
/** So many accepted calls of a window are recorded at once, further ones at most this often or with the next permits. */
const PROMPT_RECORDS = 5;
const RECORD_MS = 200;
/** An environment limits itself for so long after the table has failed. */
const TABLE_PAUSE_MS = 5_000;
/** The longest rest that a throttled call can ask for. */
const LONGEST_REST_MS = 450_000;
/** Refused jobs come back spread over this time at most: short enough for a model that accepts all calls again. */
const LONGEST_SPREAD_MS = 15_000;
/** Models come from the configuration. This bounds the memory that a mistake takes. */
const MAX_MODELS = 1_000;
/** Other environments may begin a window or take permits between two requests of this one. */
const MAX_TRIES = 4;

/**
 * Creates the pace of one environment. It reads a model's state before the first call and after a minute without calls. While
 * the model isn't throttled, no other request is made.
 */
export function createPace(options: PaceOptions): Pace {
  const models = new BoundedMap<string, ModelPace>(MAX_MODELS);
  const paceOf = (model: string): ModelPace => {
    const known = models.get(model);
    if (known !== undefined) return known;
    const pace = new ModelPace(model, options);
    models.set(model, pace);
    return pace;
  };
  return {
    admit: (model) => paceOf(model).admit(),
    giveBack: (model) => paceOf(model).giveBack(),
    accepted: (model) => paceOf(model).accepted(),
    throttled: (model, retryAfterMs = 0) => paceOf(model).throttled(retryAfterMs),
  };
}

/**
 * Returns how many calls a window may make: twice as many as the model accepted in the window before it, and a probe. A rest
 * between the two windows doesn't count.
 * @param before the latest state, of an earlier window
 * @param requestMs how long a request to the table takes. No window can begin sooner, so that the windows missed meanwhile
 * don't count either: otherwise a slow table would leave a fleet one call per request, however many the model accepts
 */
export function computeLimit(before: PaceState | undefined, window: number, requestMs: number): number {
  if (before === undefined) return 1;
  const next = Math.max(before.window, toWindow(before.restUntil)) + 1 + toWindow(requestMs);
  return window <= next ? 2 * before.accepted + 1 : 1;
}

function toWindow(at: number): number {
  return Math.floor(at / WINDOW_MS);
}

/** What this environment did in one window. */
interface Counts {
  readonly window: number;
  granted: number;
  refused: number;
  accepted: number;
}

/** What an environment knows of a model. */
class ModelPace {
  readonly #model: string;
  readonly #options: PaceOptions;
  /** Epoch milliseconds of the last known throttled call of any environment, and of this one. */
  #throttledAt = Number.NEGATIVE_INFINITY;
  #ownThrottledAt = Number.NEGATIVE_INFINITY;
  #restUntil = 0;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #admittedAt = Number.NEGATIVE_INFINITY;
  #throttleRecordedAt = Number.NEGATIVE_INFINITY;
  #recordedAt = Number.NEGATIVE_INFINITY;
  #tableFailedAt = Number.NEGATIVE_INFINITY;
  /** How long the last permits took to fetch, in milliseconds. */
  #requestMs = 0;
  #looking: Promise<void> | undefined;
  #taking: Promise<void> | undefined;
  #recording: Promise<void> | undefined;
  /** Callers that wait for permits. */
  #waiting = 0;
  /** Permits in hand. */
  #permits = { window: 0, count: 0 };
  /** The last window that was found without permits. */
  #exhausted = -1;
  /** Accepted calls that the table doesn't know of. */
  #unrecorded = 0;
  #current: Counts = createCounts(0);
  #previous: Counts = createCounts(-1);

  constructor(model: string, options: PaceOptions) {
    this.#model = model;
    this.#options = options;
  }

  async admit(): Promise<number | undefined> {
    if (!(await this.#isPaced())) return undefined;
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const now = this.#options.now();
      if (this.#restUntil > now) return this.#refuse(this.#restUntil);
      if (this.#usePermit()) return undefined;
      if (this.#exhausted === toWindow(now)) break;
      await this.#waitForPermits();
    }
    return this.#refuse((toWindow(this.#options.now()) + 1) * WINDOW_MS);
  }

  giveBack(): void {
    if (this.#arePermitsValid()) this.#permits.count += 1;
  }

  accepted(): void {
    const now = this.#options.now();
    const counts = this.#count();
    counts.accepted += 1;
    if (now - this.#throttledAt >= QUIET_MS) return;
    this.#unrecorded += 1;
    if (counts.accepted > PROMPT_RECORDS && now - this.#recordedAt < RECORD_MS) return;
    this.#recording ??= this.#recordAccepted().finally(() => {
      this.#recording = undefined;
    });
  }

  throttled(retryAfterMs: number): void {
    const { now, table } = this.#options;
    const throttledAt = now();
    const restUntil = throttledAt + Math.min(retryAfterMs, LONGEST_REST_MS);
    const restsLonger = retryAfterMs > 0 && restUntil > this.#restUntil + REST_RECORD_MS;
    this.#throttledAt = throttledAt;
    this.#ownThrottledAt = throttledAt;
    if (retryAfterMs > 0) this.#restUntil = Math.max(this.#restUntil, restUntil);
    if (!restsLonger && throttledAt - this.#throttleRecordedAt < THROTTLE_RECORD_MS) return;
    this.#throttleRecordedAt = throttledAt;
    const call = { window: toWindow(throttledAt), throttledAt, restUntil: this.#restUntil };
    table.recordThrottled(this.#model, call).catch((thrown: unknown) => {
      this.#throttleRecordedAt = Number.NEGATIVE_INFINITY;
      this.#failTable(thrown);
    });
  }

  /** Whether the model was throttled lately, as far as this environment knows or can find out. */
  async #isPaced(): Promise<boolean> {
    const now = this.#options.now();
    const isNew = now - this.#admittedAt >= QUIET_MS;
    this.#admittedAt = now;
    if (now - this.#throttledAt < QUIET_MS) return true;
    if (isNew || (now - this.#ownThrottledAt < WATCH_MS && now - this.#lookedAt >= LOOK_MS)) {
      this.#lookedAt = now;
      this.#looking = this.#look().finally(() => {
        this.#looking = undefined;
      });
    }
    await this.#looking;
    return this.#options.now() - this.#throttledAt < QUIET_MS;
  }

  async #look(): Promise<void> {
    try {
      this.#learn(await this.#options.table.read(this.#model));
    } catch (thrown) {
      this.#failTable(thrown);
    }
  }

  #learn(state: PaceState | undefined): void {
    this.#throttledAt = Math.max(this.#throttledAt, state?.throttledAt ?? 0);
    this.#restUntil = Math.max(this.#restUntil, state?.restUntil ?? 0);
  }

  async #waitForPermits(): Promise<void> {
    this.#waiting += 1;
    this.#taking ??= this.#takePermits().finally(() => {
      this.#taking = undefined;
    });
    await this.#taking;
    this.#waiting -= 1;
  }

  /** Takes a permit for each caller that waits, or as many as there are. */
  async #takePermits(): Promise<void> {
    // Callers of the same moment share a request.
    await Promise.resolve();
    const { now } = this.#options;
    const startedAt = now();
    const window = toWindow(startedAt);
    let granted = 0;
    if (now() - this.#tableFailedAt < TABLE_PAUSE_MS) granted = this.#grantAlone();
    else {
      try {
        granted = await this.#takeFromTable(window);
      } catch (thrown) {
        this.#failTable(thrown);
        granted = this.#grantAlone();
      }
    }
    if (granted === 0) this.#exhausted = window;
    this.#requestMs = now() - startedAt;
    // Valid from now on: the window may have ended while they were fetched.
    const arrived = toWindow(now());
    const left = this.#permits.window === arrived ? this.#permits.count : 0;
    this.#permits = { window: arrived, count: left + granted };
  }

  async #takeFromTable(window: number): Promise<number> {
    const { table, now } = this.#options;
    let permits = this.#waiting;
    const accepted = this.#unrecorded;
    this.#unrecorded = 0;
    let result = await table.take(this.#model, { window, permits, accepted, now: now() });
    for (let tries = 1; !result.isWritten && tries < MAX_TRIES; tries += 1) {
      const { state } = result;
      this.#learn(state);
      if (state !== undefined && (state.restUntil > now() || state.window > window)) break;
      if (state === undefined || state.window < window) {
        const limit = computeLimit(state, window, this.#requestMs);
        permits = Math.min(permits, limit);
        result = await this.#open({ window, left: limit - permits, accepted }, state);
      } else if (state.left > 0) {
        permits = Math.min(permits, state.left);
        result = await table.take(this.#model, { window, permits, accepted, now: now() });
      } else break;
    }
    this.#learn(result.state);
    if (result.isWritten) return permits;
    this.#unrecorded += accepted;
    return 0;
  }

  #open(next: Pick<PaceState, 'window' | 'left' | 'accepted'>, before: PaceState | undefined): Promise<PaceWrite> {
    return this.#options.table.open(this.#model, { ...next, throttledAt: this.#throttledAt }, before?.window);
  }

  /** Returns how many callers may call the model if this environment is the only one. */
  #grantAlone(): number {
    const { window, granted } = this.#count();
    const { accepted } = this.#previous.window === window - 1 ? this.#previous : createCounts(window);
    return Math.max(0, Math.min(this.#waiting, 2 * accepted + 1 - granted));
  }

  async #recordAccepted(): Promise<void> {
    const { table, now } = this.#options;
    try {
      while (this.#unrecorded > 0) {
        this.#recordedAt = now();
        const accepted = this.#unrecorded;
        this.#unrecorded = 0;
        const window = toWindow(now());
        let result = await table.accept(this.#model, window, accepted);
        for (let tries = 1; !result.isWritten && tries < MAX_TRIES; tries += 1) {
          const { state } = result;
          result =
            state !== undefined && state.window >= window
              ? await table.accept(this.#model, window, accepted)
              : await this.#open({ window, left: computeLimit(state, window, this.#requestMs), accepted }, state);
        }
        this.#learn(result.state);
      }
    } catch (thrown) {
      this.#failTable(thrown);
    }
  }

  #failTable(thrown: unknown): void {
    this.#tableFailedAt = this.#options.now();
    this.#options.onError('pace of a model not shared', thrown);
  }

  #usePermit(): boolean {
    if (!this.#arePermitsValid() || this.#permits.count === 0) return false;
    this.#permits.count -= 1;
    this.#count().granted += 1;
    return true;
  }

  /** A permit may be used until the end of the window after the one in which it was fetched. */
  #arePermitsValid(): boolean {
    return this.#permits.window >= toWindow(this.#options.now()) - 1;
  }

  /** Returns a random time after `from`. The more jobs are refused for each that is admitted, the wider they are spread. */
  #refuse(from: number): number {
    const counts = this.#count();
    counts.refused += 1;
    const refused = counts.refused + this.#previous.refused;
    const granted = Math.max(1, counts.granted + this.#previous.granted);
    const spreadMs = Math.min(Math.max(refused / granted, 1) * WINDOW_MS, LONGEST_SPREAD_MS);
    return Math.floor(from + this.#options.random() * spreadMs);
  }

  #count(): Counts {
    const window = toWindow(this.#options.now());
    if (window !== this.#current.window) {
      this.#previous = this.#current;
      this.#current = createCounts(window);
    }
    return this.#current;
  }
}

function createCounts(window: number): Counts {
  return { window, granted: 0, refused: 0, accepted: 0 };
}
