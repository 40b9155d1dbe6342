import type { Caller } from '../access/principal.ts';
import { LambentError } from '../core/errors.ts';
import { describeError } from '../core/logger.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { Defer } from '../lambda/request-context.ts';
import { type Amounts, type Consumption, isSoft, listCaps, NO_CONSUMPTION } from '../limits/caps.ts';
import type { CounterStore } from '../limits/counters.ts';
import { GrowingReservation, type Settleable } from '../limits/growing-reservation.ts';
import { limitError } from '../limits/limit-errors.ts';
import { encodeLimitHeaders, type HeaderStyle } from '../limits/limit-headers.ts';
import { encodeLimitName } from '../limits/limit-name.ts';
import { type Call, Limiter, type Reservation } from '../limits/limiter.ts';
import { logAlerts } from '../limits/log-alerts.ts';
import { logStranded } from '../limits/log-stranded.ts';
import { getHolderPartition } from '../limits/pools.ts';
import { settleStranded } from '../limits/stranded.ts';

export interface ReservationsOptions {
  readonly store: CounterStore;
  /** What happens to limited calls while the table of limits is not available. */
  readonly whenDown: 'refuse' | 'pass';
  /** Returns epoch milliseconds. */
  readonly now?: () => number;
}

/** Whose limits apply to a call, and how it is reported. */
interface ReserveOptions {
  readonly caller: Caller;
  readonly telemetry?: Telemetry | undefined;
  readonly queued?: boolean | undefined;
  readonly headerStyle?: HeaderStyle | undefined;
  /** Settles after the response. Default: at once. */
  readonly defer?: Defer | undefined;
}

/** What was reserved for a call. */
export interface ReservedCall extends ReservedPart {
  /**
   * Reserves more before an attempt for which too little is left. Makes no request otherwise. Throws as `Reservations.reserve`.
   * @param most what the call has used so far, and the most that the attempt can use
   */
  cover(most: Consumption): Promise<void>;
}

interface ReservedPart extends Settleable {
  /** What is left of the limits. */
  readonly headers: Readonly<Record<string, string>>;
  /** Replaces what was reserved by what was used, maybe after the response. Never throws. */
  settle(used: Amounts): Promise<void>;
}

/** Frees the place of a stream. Never throws. */
export type FreePlace = () => Promise<void>;

/** Limits streams that call no model. */
export interface StreamLimits {
  /**
   * Reserves a place for a stream of the events of a background response. Returns undefined if it isn't limited.
   * @param model that of the response
   * @throws LambentError `rate_limit_exceeded` with the limit's name, `overloaded` if the table is not available
   */
  reserveStream(model: string, options: ReserveOptions): Promise<FreePlace | undefined>;
}

/** Holder of the calls whose caller has no key: queued work of senders. */
const NO_KEY = '-';

const NOTHING: Amounts = { requests: 0n, ...NO_CONSUMPTION };

/** Reserves what calls may use, for the API: with its errors, headers and log lines. One per environment. */
export class Reservations implements StreamLimits {
  readonly #options: ReservationsOptions;
  readonly #limiter: Limiter;
  readonly #now: () => number;

  constructor(options: ReservationsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#limiter = new Limiter(options.store, this.#now);
  }

  async reserveStream(model: string, options: ReserveOptions): Promise<FreePlace | undefined> {
    const caps = listCaps(options.caller.policy, model, 'resumed');
    if (caps.length === 0) return undefined;
    const reserved = await this.reserve({ model, kind: 'resumed', caps, amounts: NOTHING }, options);
    return reserved && (() => reserved.settle(NOTHING));
  }

  /**
   * Reserves a call. Returns undefined if the table is not available and the call may pass without it.
   * @throws LambentError `rate_limit_exceeded` or `insufficient_quota` with the limit's name, `overloaded` if the table is not
   * available
   */
  async reserve(call: Omit<Call, 'holder'>, options: ReserveOptions): Promise<ReservedCall | undefined> {
    const first = await this.#reserve(call, options);
    if (first === undefined) return undefined;
    const { amounts, part = 'retry' } = call;
    // Attempts of a call are made one after another, so a further one takes no other place in flight.
    const caps = call.caps.filter(({ span }) => span !== 'now');
    const growing = new GrowingReservation(amounts, first, (more) =>
      this.#reserve({ ...call, caps, part, amounts: more }, options),
    );
    return {
      headers: first.headers,
      cover: (most) => growing.cover(most),
      settle: (used) => growing.settle(used),
    };
  }

  async #reserve(call: Omit<Call, 'holder'>, options: ReserveOptions): Promise<ReservedPart | undefined> {
    const { caller, telemetry, queued = false, headerStyle = 'openai', defer } = options;
    const holder = { tenant: caller.tenant, keyId: caller.keyId ?? NO_KEY };
    const reserved = await this.#limiter.reserve({ ...call, holder }).catch((thrown: unknown) => {
      const passed = this.#options.whenDown === 'pass' || call.caps.every(isSoft);
      telemetry?.logger.error('limits not available', { passed, ...describeError(thrown) });
      telemetry?.metrics.publish({ LimitsUnavailable: [1, 'Count'] }, 'stage');
      if (passed) return undefined;
      throw new LambentError('overloaded', 'The table of limits is not available', { cause: thrown, isUnasked: true });
    });
    if (reserved === undefined) return undefined;
    if (telemetry !== undefined) logAlerts(telemetry, holder, reserved.alerts);
    const headers = encodeLimitHeaders(reserved.state, headerStyle, this.#now());
    if (!('settle' in reserved)) {
      telemetry?.logger.annotate({ limit: encodeLimitName(reserved.cap) });
      telemetry?.metrics.gather({ LimitedCalls: [1, 'Count'] });
      throw limitError(reserved, call.model, this.#now(), { queued, headers });
    }
    const cleaning = this.#settleStranded(getHolderPartition(holder), reserved, options);
    const settle = async (used: Amounts): Promise<void> => {
      await Promise.all([cleaning, reserved.settle(used)]).catch((thrown: unknown) => {
        telemetry?.logger.warn('reservation not settled', describeError(thrown));
      });
    };
    // The response waits for the settling only if the next call may need what this one gives back.
    const later = reserved.isTight ? undefined : defer;
    return {
      headers,
      settle: async (used) => (later === undefined ? settle(used) : later(() => settle(used))),
    };
  }

  /** Settles reservations of the key that earlier calls have left, while the call runs. */
  async #settleStranded(
    pk: string,
    { counters }: Reservation,
    { telemetry }: Pick<ReserveOptions, 'telemetry'>,
  ): Promise<void> {
    const stranded = await settleStranded(this.#options.store, pk, counters, this.#now()).catch(() => []);
    if (telemetry !== undefined) for (const each of stranded) logStranded(telemetry.logger, each);
  }
}
