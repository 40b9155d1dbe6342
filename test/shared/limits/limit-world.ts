import type { Policy } from '../../../shared/access/policy.ts';
import { type Amounts, addConsumption, type Cap, getAmount, listCaps } from '../../../shared/limits/caps.ts';
import type { CounterResult, CounterStore, CounterWrite } from '../../../shared/limits/counters.ts';
import { GrowingReservation } from '../../../shared/limits/growing-reservation.ts';
import { type Call, Limiter, type Refusal, type Reservation } from '../../../shared/limits/limiter.ts';
import { sweepLimits } from '../../../shared/limits/sweep-limits.ts';
import { getWindow } from '../../../shared/limits/windows.ts';

/** A call that was made: the limits let it pass. */
export interface MadeCall {
  readonly call: Call;
  readonly at: number;
  readonly used: Amounts;
}

/** Returns a generator of numbers from 0 up to 1: mulberry32. */
export function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface WorldOptions {
  readonly store: CounterStore;
  readonly seed: number;
  readonly policyOf: (tenant: string) => Policy;
  /** Probability of a fault at each request to the table, and at each pause of a call. */
  readonly faults: number;
  /** The longest step of the clock, in milliseconds. */
  readonly stepMs: number;
  /** Called when nothing waits for its turn. Lets timers fire, for example. */
  readonly onIdle?: () => Promise<unknown>;
}

const LONGEST_WAIT_MS = 5_000;

/** Callers whose requests to the table happen in a random order, on a clock of their own, while some of them die. */
export class LimitWorld {
  now = Date.UTC(2026, 10, 30, 12, 0, 0);
  readonly made: MadeCall[] = [];
  /** The most calls at the same time, by cap. */
  readonly inFlight = new Map<string, { now: number; most: number }>();
  refused = 0;
  /** Further attempts of calls for which their reservations grew. */
  grown = 0;
  readonly #options: WorldOptions;
  readonly #random: () => number;
  /** Steps that can happen next. */
  readonly #steps: { readonly at: number; readonly run: () => Promise<void> | void }[] = [];

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#random = createRandom(options.seed);
  }

  /** Creates the limiter of one environment. Its requests wait for their turn. */
  createLimiter(): Limiter {
    return new Limiter(this.createStore(), () => this.now);
  }

  callOf(tenant: string, keyId: string, model: string, kind: Call['kind'], amounts: Amounts): Call {
    const caps = listCaps(this.#options.policyOf(tenant), model, kind);
    return { holder: { tenant, keyId }, model, kind, caps, amounts };
  }

  /**
   * Makes a call, if its limits allow it. It then takes some steps, and uses what `use` returns. Before that, so many of its attempts
   * as `breaks` says break off, and use all that they may.
   */
  start(limiter: Limiter, call: Call, use: () => Amounts, breaks = 0): void {
    void this.#run(limiter, call, use, breaks);
  }

  async #run(limiter: Limiter, call: Call, use: () => Amounts, breaks: number): Promise<void> {
    let reservation: Reservation | Refusal;
    try {
      reservation = await limiter.reserve(call);
    } catch {
      return;
    }
    if (!('settle' in reservation)) {
      this.refused += 1;
      return;
    }
    let used = breaks > 0 ? call.amounts : use();
    this.made.push({ call, at: reservation.at, used });
    this.#count(call, 1);
    let { at } = reservation;
    const growing = new GrowingReservation(call.amounts, reservation, async (amounts) => {
      const caps = call.caps.filter(({ span }) => span !== 'now');
      const further = await limiter.reserve({ ...call, caps, part: 'retry', amounts });
      if (!('settle' in further)) throw new Error('refused');
      at = further.at;
      return further;
    });
    let survives = await this.pause();
    for (let left = breaks; survives && left > 0; left -= 1) {
      const isCovered = await growing.cover(addConsumption(used, call.amounts)).then(
        () => true,
        () => false,
      );
      if (!isCovered) break;
      this.grown += 1;
      const attempt = left === 1 ? use() : call.amounts;
      this.made.push({ call, at, used: { ...attempt, requests: 0n } });
      used = { ...addConsumption(used, attempt), requests: used.requests };
      survives = await this.pause();
    }
    this.#count(call, -1);
    if (survives) await growing.settle(used).catch(() => {});
  }

  /** Lets everything happen that can. */
  async finish(): Promise<void> {
    for (let idle = 0; idle < 3; ) {
      // Everything that follows from the last step has to be waiting for its turn, too.
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#steps.length === 0) {
        idle += 1;
        await this.#options.onIdle?.();
        continue;
      }
      idle = 0;
      // A request waits for some seconds at most: its client gives up sooner.
      const isOverdue = (this.#steps[0]?.at ?? this.now) + LONGEST_WAIT_MS < this.now;
      const index = isOverdue ? 0 : Math.floor(this.#random() * this.#steps.length);
      const [step] = this.#steps.splice(index, 1);
      if (this.#random() < 0.3) this.now += Math.floor(this.#random() * this.#options.stepMs);
      await step?.run();
    }
  }

  /** Makes calls one after another, without faults, until one is refused. */
  async callUntilRefused(call: Call, most: number, settlesWith?: () => Amounts): Promise<number> {
    const limiter = new Limiter(this.#options.store, () => this.now);
    for (let made = 0; made < most; made += 1) {
      const reservation = await limiter.reserve(call);
      if (!('settle' in reservation)) return made;
      const used = settlesWith?.() ?? call.amounts;
      this.made.push({ call, at: reservation.at, used });
      if (settlesWith !== undefined) await reservation.settle(used);
    }
    return most;
  }

  /** Runs the sweep of limits, without faults unless its store has some. */
  async sweep(store = this.#options.store, onError?: (what: string, thrown: unknown) => void): Promise<void> {
    const onFailure = (_what: string, thrown: unknown) => {
      throw thrown;
    };
    const ports = {
      store,
      now: () => this.now,
      readState: async () => 'absent' as const,
      pause: async () => {},
      idleMinutes: 0,
    };
    await sweepLimits(
      { ...ports, logger: { summarize: () => {} }, onError: onError ?? onFailure },
      Number.POSITIVE_INFINITY,
    );
  }

  /**
   * Starts sweeps that run while calls do: so many at once, one after another at any moment, and as many whose requests wait for their
   * turn, and may fail.
   */
  startSweeps(count: number): void {
    const runAtOnce = async (left: number): Promise<void> => {
      if (left === 0) return;
      await this.sweep();
      this.#addStep(() => runAtOnce(left - 1));
    };
    this.#addStep(() => runAtOnce(count));
    for (let index = 0; index < count; index += 1) {
      this.#addStep(() => void this.sweep(this.createStore(), () => {}).catch(() => {}));
    }
  }

  /** Returns what was used by window of each cap, beside the cap. */
  listUse(): { readonly cap: Cap; readonly window: string; readonly used: bigint; readonly largest: bigint }[] {
    const sums = new Map<string, { cap: Cap; window: string; used: bigint; largest: bigint }>();
    for (const { call, at, used } of this.made) {
      for (const cap of call.caps) {
        if (cap.span === 'now') continue;
        const window = getWindow(cap.span, at);
        const id = `${nameScope(cap, call)} ${cap.name} ${window}`;
        const sum = sums.get(id) ?? { cap, window, used: 0n, largest: 0n };
        const amount = getAmount(cap.metric, used);
        sums.set(id, {
          ...sum,
          used: sum.used + amount,
          largest: amount > sum.largest ? amount : sum.largest,
        });
      }
    }
    return [...sums.values()];
  }

  #count(call: Call, change: number): void {
    for (const cap of call.caps) {
      if (cap.span !== 'now') continue;
      const id = `${nameScope(cap, call)} ${cap.name} ${cap.max}`;
      const { now, most } = this.inFlight.get(id) ?? { now: 0, most: 0 };
      this.inFlight.set(id, { now: now + change, most: Math.max(most, now + change) });
    }
  }

  /** Waits for a turn. Returns false if the function dies. */
  pause(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#addStep(() => resolve(this.#random() >= this.#options.faults));
    });
  }

  #addStep(run: () => Promise<void> | void): void {
    this.#steps.push({ at: this.now, run });
  }

  /** Creates the store of one environment. Its requests wait for their turn. */
  createStore(): CounterStore {
    const { store, faults } = this.#options;
    const inTurn = <T>(request: () => Promise<T>): Promise<T> =>
      new Promise((resolve, reject) => {
        this.#addStep(async () => {
          const fault = this.#random() < faults ? Math.floor(this.#random() * 4) : undefined;
          // The function dies before its request.
          if (fault === 0) return;
          if (fault === 1) {
            reject(new Error('not sent'));
            return;
          }
          const result = await request();
          // The function dies, or only the response is lost.
          if (fault === 2) return;
          if (fault === 3) reject(new Error('response lost'));
          else this.#addStep(() => resolve(result));
        });
      });
    return {
      write: (write: CounterWrite): Promise<CounterResult> => inTurn(() => store.write(write)),
      read: (pk) => inTurn(() => store.read(pk)),
      list: (prefixes) => store.list(prefixes),
    };
  }
}

function nameScope({ level }: Cap, { holder, model }: Call): string {
  const { tenant, keyId } = holder;
  return { account: '', project: tenant, model: `${tenant} ${model}`, key: `${tenant} ${keyId}` }[level];
}
