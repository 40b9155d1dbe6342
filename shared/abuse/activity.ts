import type { Entry } from '../audit/entry.ts';
import type { ErrorCode } from '../core/errors.ts';

/** What is counted, hour by hour: the calls of a key, or of a whole project. */
export interface Subject {
  readonly tenant: string;
  /** Undefined for the project. */
  readonly keyId: string | undefined;
  /** Epoch milliseconds at which the hour begins. */
  readonly hour: number;
}

/** What a key, or all callers of a project, have done in an hour. */
export interface Activity extends Subject {
  readonly calls: number;
  /** Requests and answers that content rules and guardrails refused. */
  readonly refusals: number;
  /** Networks from which a key was used. Those of projects are not counted. */
  readonly networks: ReadonlySet<string>;
}

export const HOUR_MS = 3_600_000;

/**
 * Errors of calls that were not authorized. They don't count: a client that uses a held or restricted key would otherwise raise
 * what is usual for the project, or have others' calls found unusual.
 */
const UNAUTHORIZED: ReadonlySet<unknown> = new Set<ErrorCode>([
  'invalid_api_key',
  'insufficient_permissions',
  'ip_not_authorized',
  'certificate_not_authorized',
  'project_archived',
  'key_held',
]);

/** Returns what entries add to the activity of their keys and projects. Calls that were not authorized add nothing. */
export function sumActivity(entries: readonly Entry[]): Activity[] {
  const sums = new Map<string, { subject: Subject; calls: number; refusals: number; networks: Set<string> }>();
  const add = (subject: Subject, { record, network }: Entry): void => {
    const name = JSON.stringify([subject.tenant, subject.keyId, subject.hour]);
    const sum = sums.get(name) ?? { subject, calls: 0, refusals: 0, networks: new Set() };
    sums.set(name, sum);
    if (record === 'call') sum.calls += 1;
    else sum.refusals += 1;
    if (network !== undefined && subject.keyId !== undefined) sum.networks.add(network);
  };
  for (const entry of entries) {
    const { record, action, tenant, keyId, errorCode } = entry;
    const isRefusal = record === 'guardrail' && action === 'refuse';
    if (tenant === undefined || (record !== 'call' && !isRefusal)) continue;
    if (UNAUTHORIZED.has(errorCode)) continue;
    const hour = Math.floor(Date.parse(entry.time) / HOUR_MS) * HOUR_MS;
    add({ tenant, keyId: undefined, hour }, entry);
    if (keyId !== undefined) add({ tenant, keyId, hour }, entry);
  }
  return [...sums.values()].map(({ subject, ...counts }) => ({ ...subject, ...counts }));
}
