import { LambentError } from '../../core/errors.ts';
import type { Slot, SlotPorts } from './leasing.ts';
import type { SlotSettings } from './settings.ts';

/** A lease that was just taken. */
export interface GrantedLease
  extends Pick<Slot, 'worker' | 'leaseId' | 'cachedTokens' | 'prefillTokens' | 'otherWorkers' | 'waitedMs'> {
  /** What else is to be written on its account, begun already; done before `release` has ended. Never rejects. */
  readonly alongside: Promise<unknown>;
}

/** Keeps a lease by its heartbeat until it is released. */
export function startSlotLease(
  { alongside, ...taken }: GrantedLease,
  { store, now, sleep }: SlotPorts,
  { heartbeatMs, leaseMs }: SlotSettings,
): Slot {
  const { fleet, id } = taken.worker;
  const { leaseId } = taken;
  const ended = new AbortController();
  const lost = new AbortController();
  let hasBegun = false;
  let released: Promise<void> | undefined;

  /**
   * A table that doesn't answer loses no slot: at worst the worker has one request too many for a while, and to cut the answer
   * would cost all that was computed for it.
   */
  async function isRefused(): Promise<boolean> {
    const renewed = await store.renew(fleet, id, leaseId, now() + leaseMs).catch(() => true);
    return !renewed;
  }

  async function beat(): Promise<void> {
    for (;;) {
      await sleep(heartbeatMs, ended.signal);
      if (ended.signal.aborted) return;
      if (await isRefused()) {
        lost.abort(new LambentError('upstream_cut', `The lease of a slot of ${fleet}/${id} is lost`));
        return;
      }
    }
  }
  const beating = beat().catch(() => {});

  async function giveBack(): Promise<void> {
    // A reason of its own: making the usual one, with its stack, costs more than all else here.
    ended.abort('released');
    // A renewal on its way is waited for: one that came after the release would do no harm, but nobody would see it fail.
    await Promise.all([beating, alongside]);
    await store.release(fleet, id, leaseId).catch(() => {});
  }

  return {
    ...taken,
    lost: lost.signal,
    async markFirstToken() {
      if (hasBegun) return;
      hasBegun = true;
      await store.markFirstToken(fleet, id, leaseId).catch(() => {});
    },
    release() {
      released ??= giveBack();
      return released;
    },
  };
}
