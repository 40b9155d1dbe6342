import { type Amounts, addConsumption, type Consumption, combineFields } from './caps.ts';

/** A reservation that is settled once. */
export interface Settleable {
  /** Replaces what was reserved by what was used. */
  settle(used: Amounts): Promise<void>;
}

/**
 * Reserves more for a call. Returns undefined if it may pass without that, because the table is not available. Throws if a limit
 * doesn't allow as much.
 */
export type ReserveMore = (more: Amounts) => Promise<Settleable | undefined>;

interface Part {
  readonly amounts: Consumption;
  readonly reservation: Settleable;
}

/**
 * What a call has reserved. Before the call that is enough for one attempt at each target. It grows before an attempt for which too
 * little is left, because earlier ones broke off and may be charged nevertheless: a retry at the same target, for example.
 */
export class GrowingReservation {
  readonly #first: Part;
  readonly #further: Part[] = [];
  readonly #reserveMore: ReserveMore;
  /** All that is reserved. */
  #reserved: Consumption;

  constructor(amounts: Consumption, reservation: Settleable, reserveMore: ReserveMore) {
    this.#first = { amounts, reservation };
    this.#reserveMore = reserveMore;
    this.#reserved = amounts;
  }

  /**
   * Reserves what is missing of `most`: what the call has used so far, and the most that its next attempt can use. Makes no request
   * if nothing is missing. Throws as `ReserveMore`; then nothing more is reserved.
   */
  async cover(most: Consumption): Promise<void> {
    const more = combineFields(most, this.#reserved, subtractDownToZero);
    if (Object.values(more).every((each) => each === 0n)) return;
    const reservation = await this.#reserveMore({ requests: 0n, ...more });
    if (reservation === undefined) return;
    this.#further.push({ amounts: more, reservation });
    this.#reserved = addConsumption(this.#reserved, more);
  }

  /** Settles all parts with what the call has used. No part gets more than it reserved, but the first one what exceeds them all. */
  async settle(used: Amounts): Promise<void> {
    let excess = combineFields(used, this.#first.amounts, subtractDownToZero);
    let ofFirst: Consumption = used;
    const settled: Promise<void>[] = [];
    for (const { amounts, reservation } of this.#further) {
      const share = combineFields(excess, amounts, (a, b) => (a < b ? a : b));
      excess = combineFields(excess, share, subtractDownToZero);
      ofFirst = combineFields(ofFirst, share, subtractDownToZero);
      settled.push(reservation.settle({ requests: 0n, ...share }));
    }
    await Promise.all([...settled, this.#first.reservation.settle({ ...ofFirst, requests: used.requests })]);
  }
}

function subtractDownToZero(a: bigint, b: bigint): bigint {
  return a > b ? a - b : 0n;
}
