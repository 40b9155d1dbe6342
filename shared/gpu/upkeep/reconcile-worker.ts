import type { FleetStore } from '../registry/fleet-store.ts';
import type { Worker, WorkerState } from '../registry/worker.ts';
import type { Member } from './member.ts';
import type { HealthyResult, Probe, ProbeResult } from './probe.ts';

export interface ReconcilePorts {
  readonly store: FleetStore;
  /** Rejects when the key of the fleet's engines can't be had. */
  readonly probe: () => Promise<Probe>;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** A worker's state changed, or it could not be had. */
  readonly onChange: (change: WorkerChange) => void;
}

export interface WorkerChange {
  readonly fleet: string;
  readonly worker: string;
  readonly change: 'registered' | 'deregistered' | 'ready' | 'draining' | 'suspect' | 'adapters missing';
  readonly reason?: string;
}

/** Where a member stands after it was attended to. `starting`: it is no worker yet. */
export type WorkerStatus = WorkerState | 'starting' | 'gone';

/**
 * Brings what the registry says of one member up to date: registers it once it works, marks it when it doesn't, drains it
 * when it is to leave, forgets it when it is gone. Every step may be repeated, and taken by several at once.
 * @param worker what the registry says of it now
 */
export async function reconcileWorker(
  fleet: string,
  member: Member,
  worker: Worker | undefined,
  ports: ReconcilePorts,
): Promise<WorkerStatus> {
  switch (member.phase) {
    case 'gone':
      if (worker !== undefined) await deregisterWorker(worker, ports);
      return 'gone';
    case 'leaving':
      if (worker !== undefined) await takeOutOfService(worker, 'draining', 'stopping', ports);
      return 'draining';
    case 'starting':
      return worker === undefined ? 'starting' : look(fleet, member, worker, ports);
    case 'running':
      return look(fleet, member, worker, ports);
  }
}

/** Removes a worker from the registry, and so every lease of it. */
export async function deregisterWorker(
  { fleet, id }: Pick<Worker, 'fleet' | 'id'>,
  { store, onChange }: Pick<ReconcilePorts, 'store' | 'onChange'>,
): Promise<void> {
  await store.deregister(fleet, id);
  onChange({ fleet, worker: id, change: 'deregistered' });
}

/** Takes a worker out of service: as `draining` from any state, as `suspect` unless it is to leave anyway. */
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

async function look(
  fleet: string,
  member: Member,
  worker: Worker | undefined,
  ports: ReconcilePorts,
): Promise<WorkerStatus> {
  // Whoever drains it says when that is over, and a machine that is worked on may come and go meanwhile.
  if (worker?.state === 'draining') return 'draining';
  if (member.url === undefined || member.phase === 'starting' || member.unhealthy) {
    return takeOut(worker, member.unhealthy ? 'unhealthy' : 'starting anew', ports);
  }
  const finding = await find(member, member.url, worker, ports);
  if (!finding.healthy) return takeOut(worker, finding.reason, ports);
  for (const name of finding.missingAdapters)
    ports.onChange({ fleet, worker: member.id, change: 'adapters missing', reason: name });
  return keep(fleet, member, member.url, worker, finding, ports);
}

async function takeOut(worker: Worker | undefined, reason: string, ports: ReconcilePorts): Promise<WorkerStatus> {
  if (worker === undefined) return 'starting';
  await takeOutOfService(worker, 'suspect', reason, ports);
  return 'suspect';
}

/** A worker in service is asked for its models only; one that is new, suspect or started anew has to generate a token. */
async function find(
  member: Member,
  url: string,
  worker: Worker | undefined,
  ports: ReconcilePorts,
): Promise<ProbeResult> {
  const probe = await ports.probe();
  const trusted = worker?.state === 'ready' && (member.bootId ?? worker.bootId) === worker.bootId;
  const first = await probe.checkModels(url);
  // One look that fails may be a full event loop's; two in a row are not.
  const finding = first.healthy || !trusted ? first : await probe.checkModels(url);
  if (!finding.healthy) return finding;
  const start = member.bootId ?? finding.start;
  if (trusted && (start === undefined || start === worker.bootId)) return finding;
  const [model] = finding.models;
  return (model === undefined ? undefined : await probe.checkGeneration(url, model)) ?? finding;
}

async function keep(
  fleet: string,
  member: Member,
  url: string,
  worker: Worker | undefined,
  { models, start }: HealthyResult,
  ports: ReconcilePorts,
): Promise<WorkerStatus> {
  const { store, now, onChange } = ports;
  const { id, slots, source, instance } = member;
  const bootId = member.bootId ?? start ?? knownStart(worker) ?? `${MADE_UP}${now()}`;
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
    ...(instance === undefined ? {} : { instance }),
  });
  if (worker?.bootId !== bootId) {
    onChange({ fleet, worker: id, change: 'registered' });
    return 'ready';
  }
  if (worker.state !== 'suspect') return 'ready';
  const back = { state: 'ready', reason: 'a probe found it well', at: now(), from: 'suspect' } as const;
  if (!(await store.setState(fleet, id, bootId, back))) return 'suspect';
  onChange({ fleet, worker: id, change: 'ready' });
  return 'ready';
}

/** How a boot id begins that no engine told. */
const MADE_UP = 'seen-';

/**
 * The start that is known of an engine that doesn't tell it now. One that never did may be another after any time out of
 * service. One that told it once could not be asked: under a made-up start, all that it has would be cut off, and again as soon
 * as it tells the real one.
 */
function knownStart(worker: Worker | undefined): string | undefined {
  if (worker === undefined) return undefined;
  return worker.state === 'ready' || !worker.bootId.startsWith(MADE_UP) ? worker.bootId : undefined;
}
