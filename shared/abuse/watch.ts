import { type AbuseRules, resolveAbuseRules } from '../access/abuse-rules.ts';
import type { HoldTable } from '../access/hold-table.ts';
import type { Restrictions } from '../access/policy.ts';
import type { PolicyTable } from '../access/policy-table.ts';
import { ORGANIZATION } from '../access/principal.ts';
import { getPrincipalKind } from '../access/principal-kind.ts';
import type { Act } from '../audit/act.ts';
import type { Entry } from '../audit/entry.ts';
import type { Table } from '../aws/table.ts';
import { HOUR_MS, sumActivity } from './activity.ts';
import { type ActivityItem, beginReport, endReport, noteUsual, readActivity, readHistory } from './activity-table.ts';
import { computeUsual, type Finding, findInKey, findUnusualRate } from './findings.ts';

/** A sign of abuse as it is reported. */
export interface AbuseReport {
  readonly act: Act;
  /** Epoch milliseconds. */
  readonly at: number;
  readonly isHeld: boolean;
}

export interface WatchPorts {
  /** The table of `addActivity`. */
  readonly table: Table;
  readonly policies: PolicyTable;
  readonly holds: HoldTable;
  /** Records a report. The same report is recorded once, however often this is called for it. */
  readonly report: (report: AbuseReport) => Promise<void>;
  /** Returns epoch milliseconds. */
  readonly now: () => number;
}

/**
 * Looks for signs of abuse in the activity of the keys and projects of entries, after these were added to it. A sign is reported
 * once for each subject and hour, and a key is held if the policy says so. The subject of the sign `rate` is a key or the project:
 * one hour may have a report for each. A repeated call completes an interrupted one.
 * @throws the first error after all tenants were watched, so that the policy of one, which can't be read, hides no other's signs
 */
export async function watchForAbuse(entries: readonly Entry[], ports: WatchPorts): Promise<void> {
  // Lines that are recorded hours later, such as those from a dead-letter queue, are too old a reason to hold a key.
  const isCurrent = ({ hour }: { readonly hour: number }) => ports.now() - hour < 2 * HOUR_MS;
  const activity = await readActivity(ports.table, sumActivity(entries).filter(isCurrent));
  const failures: unknown[] = [];
  for (const [tenant, active] of Map.groupBy(activity, (each) => each.tenant))
    await watchTenant(tenant, active, ports).catch((thrown: unknown) => failures.push(thrown));
  if (failures.length > 0) throw failures[0];
}

async function watchTenant(tenant: string, activity: readonly ActivityItem[], ports: WatchPorts): Promise<void> {
  const rules = await readRules(ports.policies, tenant);
  const keys = activity.filter(({ keyId }) => keyId !== undefined);
  const projects = activity.filter(({ keyId }) => keyId === undefined);
  const findings = keys.flatMap((key) => findInKey(key, rules));
  for (const project of projects) {
    const sameHour = keys.filter(({ hour }) => hour === project.hour);
    findings.push(...findUnusualRate(await withUsual(project, rules, ports.table), sameHour, rules));
  }
  for (const finding of findings) if (!finding.subject.reported.has(finding.sign)) await report(finding, rules, ports);
}

async function readRules(policies: PolicyTable, tenant: string): Promise<AbuseRules> {
  const { account, project } = await policies.find(tenant);
  // `parsePolicy` would refuse sections that only a later version enforces. Only one section is needed here.
  const [forAll, own]: Restrictions[] = [account, project].map((json) => (json === undefined ? {} : JSON.parse(json)));
  return resolveAbuseRules(forAll?.abuse, own?.abuse);
}

/** Returns a project with its usual hour, which is computed once an hour, and only if it is busy enough to need it. */
async function withUsual(project: ActivityItem, rules: AbuseRules, table: Table): Promise<ActivityItem> {
  if (project.usual !== undefined || rules.timesUsualRate === null || project.calls < rules.leastCallsPerHour)
    return project;
  const usual = computeUsual(await readHistory(table, project), project.hour);
  await noteUsual(table, project, usual);
  return { ...project, usual };
}

async function report(
  { subject, project, sign, ...counted }: Finding,
  rules: AbuseRules,
  ports: WatchPorts,
): Promise<void> {
  const { tenant, keyId } = subject;
  // An admin key is never held: that could lock all administrators out.
  const mustHold = keyId !== undefined && tenant !== ORGANIZATION && rules.hold.includes(sign);
  const now = ports.now();
  const until = mustHold ? Math.ceil(now / 1000) + rules.holdSeconds : undefined;
  // The report is stored first, so that all recorders that find this sign, and a retry after a crash, do the same.
  const text = await beginReport(ports.table, subject, sign, JSON.stringify({ at: now, until, ...counted }));
  const begun: { at: number; until?: number; value: number; threshold: number } = JSON.parse(text);
  const hold = begun.until === undefined ? undefined : { since: Math.floor(begun.at / 1000), until: begun.until };
  const isHeld =
    hold !== undefined && keyId !== undefined && (await ports.holds.place(tenant, keyId, { ...hold, reason: sign }));
  const data = { reason: sign, value: begun.value, threshold: begun.threshold };
  await ports.report({
    act: {
      type: `${keyId === undefined ? 'project' : getPrincipalKind(keyId)}.${isHeld ? 'held' : 'suspected'}`,
      objectId: keyId ?? tenant,
      ...(tenant !== ORGANIZATION && { project: tenant }),
      details: { data: isHeld ? { ...data, held_until: hold.until } : data },
    },
    ...{ at: begun.at, isHeld },
  });
  // This hour of the project then doesn't count as usual.
  if (project !== undefined && project !== subject) await endReport(ports.table, project, sign);
  await endReport(ports.table, subject, sign);
}
