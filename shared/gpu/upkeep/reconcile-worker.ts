import { omitUndefined } from '../../core/objects.ts';
import type { FleetStore } from '../registry/fleet-store.ts';
import type { Worker, WorkerState } from '../registry/worker.ts';
import type { Member } from './member.ts';
import type { HealthyResult, Probe, ProbeResult } from './probe.ts';

export interface ReconcilePorts {
  readonly store: FleetStore;
  /** Returns the probe of the fleet. Rejects if the key of its engines is missing. */
  readonly probe: () => Promise<Probe>;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Called when a worker's state changes, and for each adapter that it could not load. */
  readonly onChange: (change: WorkerChange) => void;
}

export interface WorkerChange {
  readonly fleet: string;
  readonly worker: string;
  readonly change: 'registered' | 'deregistered' | 'ready' | 'draining' | 'suspect' | 'adapters missing';
  readonly reason?: string;
}

/** The status of a member after reconciliation. `starting`: it is not registered as a worker yet. */
export type WorkerStatus = WorkerState | 'starting' | 'gone';

/**
 * Brings the registry entry of one member up to date: registers the worker once it works, marks it as suspect when it
 * fails, drains it before it stops and deregisters it when it has stopped. Each step is idempotent, and concurrent runs
 * give the same result.
 * @param worker the registry's current entry
 */
export async function reconcileWorker(
  fleet: string,
  member: Member,
  worker: Worker | undefined,
  ports: ReconcilePorts,
): Promise<WorkerStatus> {
  switch (member.phase) {
    case 'stopped':
      if (worker !== undefined) await deregisterWorker(worker, ports);
      return 'gone';
    case 'stopping':
      if (worker !== undefined) await takeOutOfService(worker, 'draining', 'stopping', ports);
      return 'draining';
    case 'starting':
      return worker === undefined ? 'starting' : checkMember(fleet, member, worker, ports);
    case 'running':
      return checkMember(fleet, member, worker, ports);
  }
}

/** Removes a worker and its leases from the registry. */
export async function deregisterWorker(
  { fleet, id }: Pick<Worker, 'fleet' | 'id'>,
  { store, onChange }: Pick<ReconcilePorts, 'store' | 'onChange'>,
): Promise<void> {
  await store.deregister(fleet, id);
  onChange({ fleet, worker: id, change: 'deregistered' });
}

/** Takes a worker out of service: as `draining` from any state, as `suspect` only if it is ready. */
export async function takeOutOfService(
  { fleet, id, bootId, state }: Worker,
  to: 'draining' | 'suspect',
  reason: string,
  { store, now, onChange }: Pick<ReconcilePorts, 'store' | 'now' | 'onChange'>,
): Promise<void> {
  if (state === to) return;
  const from = to === 'suspect' ? { from: 'ready' as const } : {};
  if (await store.setState(fleet, id, bootId, { state: to, reason, at: now(), ...from }))
    onChange({ fleet, worker: id, change: to, reason });
}

async function checkMember(
  fleet: string,
  member: Member,
  worker: Worker | undefined,
  ports: ReconcilePorts,
): Promise<WorkerStatus> {
  // Only an operator's `undrain` ends a drain, even if the machine restarts.
  if (worker?.state === 'draining') return 'draining';
  if (member.url === undefined || member.phase === 'starting' || member.unhealthy) {
    return markSuspect(worker, member.unhealthy ? 'unhealthy' : 'restarting', ports);
  }
  const result = await probeMember(member, member.url, worker, ports);
  if (!result.healthy) return markSuspect(worker, result.reason, ports);
  for (const name of result.missingAdapters)
    ports.onChange({ fleet, worker: member.id, change: 'adapters missing', reason: name });
  return registerHealthy(fleet, member, member.url, worker, result, ports);
}

async function markSuspect(worker: Worker | undefined, reason: string, ports: ReconcilePorts): Promise<WorkerStatus> {
  if (worker === undefined) return 'starting';
  await takeOutOfService(worker, 'suspect', reason, ports);
  return 'suspect';
}

/**
 * Probes a member. A worker in service only lists its models; a new, suspect or restarted one must also generate a
 * token.
 */
async function probeMember(
  member: Member,
  url: string,
  worker: Worker | undefined,
  ports: ReconcilePorts,
): Promise<ProbeResult> {
  const probe = await ports.probe();
  const isTrusted = worker?.state === 'ready' && (member.bootId ?? worker.bootId) === worker.bootId;
  const first = await probe.checkModels(url);
  // One failure may only mean that the engine's event loop is busy; two in a row mean more.
  const result = first.healthy || !isTrusted ? first : await probe.checkModels(url);
  if (!result.healthy) return result;
  const start = member.bootId ?? result.start;
  if (isTrusted && (start === undefined || start === worker.bootId)) return result;
  const [model] = result.models;
  return (model === undefined ? undefined : await probe.checkGeneration(url, model)) ?? result;
}

async function registerHealthy(
  fleet: string,
  member: Member,
  url: string,
  worker: Worker | undefined,
  { models, start }: HealthyResult,
  ports: ReconcilePorts,
): Promise<WorkerStatus> {
  const { store, now, onChange } = ports;
  const { id, slots, source, instance } = member;
  const bootId = member.bootId ?? start ?? findKnownBootId(worker) ?? `${GENERATED_PREFIX}${now()}`;
  await store.register({
    fleet,
    id,
    url,
    bootId,
    state: 'ready',
    slots,
    models,
    source,
    seenAt: now(),
    ...omitUndefined({ instance }),
  });
  if (worker?.bootId !== bootId) {
    onChange({ fleet, worker: id, change: 'registered' });
    return 'ready';
  }
  if (worker.state !== 'suspect') return 'ready';
  const toReady = { state: 'ready', reason: 'the probe succeeded', at: now(), from: 'suspect' } as const;
  if (!(await store.setState(fleet, id, bootId, toReady))) return 'suspect';
  onChange({ fleet, worker: id, change: 'ready' });
  return 'ready';
}

/** Prefix of a boot id that was generated because the engine reports none. */
const GENERATED_PREFIX = 'seen-';

/**
 * Returns the worker's boot id if it remains valid although this probe read no start. A reported boot id remains valid,
 * because only this read failed: a new boot id would end all leases now, and again when the engine reports its start.
 * A generated boot id remains valid only while the worker is in service, because the engine may have restarted while it
 * was out of service.
 */
function findKnownBootId(worker: Worker | undefined): string | undefined {
  if (worker === undefined) return undefined;
  return worker.state === 'ready' || !worker.bootId.startsWith(GENERATED_PREFIX) ? worker.bootId : undefined;
}
