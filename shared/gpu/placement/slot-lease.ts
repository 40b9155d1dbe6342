import { LambentError } from '../../core/errors.ts';
import { startHeartbeat } from '../../core/heartbeat.ts';
import type { SlotSettings } from './settings.ts';
import type { Slot, SlotPorts } from './slot.ts';

/** A lease that was just granted. */
export interface GrantedLease
  extends Pick<Slot, 'worker' | 'leaseId' | 'cachedTokens' | 'prefillTokens' | 'otherWorkers' | 'waitedMs'> {
  /** Other writes for this lease that are under way. `release` waits for them. Never rejects. */
  readonly pendingWrites: Promise<unknown>;
}

/** Renews a lease by heartbeats until it is released or lost. */
export function startSlotLease(
  { pendingWrites, ...granted }: GrantedLease,
  { store, now, sleep }: SlotPorts,
  { heartbeatMs, leaseMs }: SlotSettings,
): Slot {
  const { fleet, id } = granted.worker;
  const { leaseId } = granted;
  const lost = new AbortController();
  let hasFirstToken = false;
  let releasing: Promise<void> | undefined;

  /**
   * Renews the lease. Returns false only if the table refuses the renewal. After an error the call continues: at worst
   * the worker runs one request too many for a while, whereas an abort would waste the tokens computed so far.
   */
  async function renew(): Promise<boolean> {
    return store.renew(fleet, id, leaseId, now() + leaseMs).catch(() => true);
  }

  const heartbeat = startHeartbeat(
    heartbeatMs,
    async () => {
      if (await renew()) return heartbeatMs;
      lost.abort(new LambentError('upstream_cut', `The lease of a slot of ${fleet}/${id} is lost`));
      return undefined;
    },
    sleep,
  );

  async function release(): Promise<void> {
    await Promise.all([heartbeat.stop(), pendingWrites]);
    await store.release(fleet, id, leaseId).catch(() => {});
  }

  return {
    ...granted,
    lost: lost.signal,
    async markFirstToken() {
      if (hasFirstToken) return;
      hasFirstToken = true;
      await store.markFirstToken(fleet, id, leaseId).catch(() => {});
    },
    release() {
      releasing ??= release();
      return releasing;
    },
  };
}
