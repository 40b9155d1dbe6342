import type { Limits, ModelLimits, SpendAlert } from '../access/limit-policy.ts';
import type { Policy } from '../access/policy.ts';
import type { Span } from './windows.ts';

/** Whose use a cap limits: all of the deployment, a tenant's, a tenant's of one model, or a key's. */
export type Level = 'account' | 'project' | 'model' | 'key';

/**
 * The kinds of calls in flight, which are limited separately: requests that are not streamed, streams, and streams of the events of
 * background responses, which call no model.
 */
export type Kind = 'answers' | 'streams' | 'resumed';

/** What is counted. */
export type Metric = 'requests' | 'tokens' | 'spend' | Kind;

/** One limit of a policy. */
export interface Cap {
  readonly level: Level;
  readonly metric: Metric;
  readonly span: Span;
  /** Requests, tokens or picodollars. */
  readonly max: bigint;
  /** The limit's name in the policy. */
  readonly name: string;
  /** Alerts of the metric and span. */
  readonly alerts?: readonly SpendAlert[];
}

/** What leases need to know of a cap. */
export type LeasedCap = Pick<Cap, 'level' | 'max' | 'alerts'>;

/** The largest amount that a policy can have, in picodollars. A cap that exists only for alerts has it, so that it refuses nothing. */
const NO_MAX = toPicodollars(1e9);

/** True if a cap only counts for its alerts. */
export function isSoft({ max, alerts }: LeasedCap): boolean {
  return alerts !== undefined && max === NO_MAX;
}

/** What one call takes of its caps: an upper bound before the call, or what it has used. */
export interface Amounts {
  readonly requests: bigint;
  readonly inputTokens: bigint;
  readonly outputTokens: bigint;
  /** Picodollars. */
  readonly spend: bigint;
}

/** Tokens and money alone: an upper bound of an attempt, or what attempts have used. */
export type Consumption = Omit<Amounts, 'requests'>;

const FIELDS = [
  ['requestsPerMinute', 'requests', 'minute'],
  ['requestsPerDay', 'requests', 'day'],
  ['tokensPerMinute', 'tokens', 'minute'],
  ['tokensPerDay', 'tokens', 'day'],
  ['requestsInFlight', 'answers', 'now'],
  ['streamsInFlight', 'streams', 'now'],
  ['resumedStreamsInFlight', 'resumed', 'now'],
  ['dollarsPerDay', 'spend', 'day'],
  ['dollarsPerMonth', 'spend', 'month'],
] as const satisfies readonly (readonly [keyof ModelLimits, Metric, Span])[];

/** Lists the caps of a policy that apply to a call of a model. */
export function listCaps(policy: Policy, model: string, kind: Kind): Cap[] {
  const { account, project, key } = policy;
  return [
    ...listLevel('key', key?.limits, kind),
    ...listModelCaps(policy, model, kind),
    ...listLevel('project', project?.limits, kind),
    ...listLevel('account', account?.limits, kind),
  ];
}

/** Lists the caps that a policy has for a single model. */
export function listModelCaps({ project }: Policy, model: string, kind: Kind): Cap[] {
  const ofModel = project?.limits?.models;
  return listLevel('model', ofModel !== undefined && Object.hasOwn(ofModel, model) ? ofModel[model] : undefined, kind);
}

function listLevel(level: Level, limits: Limits | undefined, kind: Kind): Cap[] {
  if (limits === undefined) return [];
  return FIELDS.flatMap(([name, metric, span]): Cap[] => {
    const max = limits[name];
    const applies = span === 'now' ? metric === kind : kind !== 'resumed';
    if (!applies) return [];
    if (metric === 'spend') {
      const alerts = limits.alerts?.filter(({ per }) => per === span) ?? [];
      if (max === undefined && alerts.length === 0) return [];
      const cap = { level, metric, span, name, max: max === undefined ? NO_MAX : toPicodollars(max) };
      return [alerts.length === 0 ? cap : { ...cap, alerts }];
    }
    return max === undefined ? [] : [{ level, metric, span, name, max: BigInt(max) }];
  });
}

/** Converts US dollars, which have up to six decimals, to picodollars. */
export function toPicodollars(dollars: number): bigint {
  return BigInt(Math.round(dollars * 1e6)) * 1_000_000n;
}

export const NO_CONSUMPTION: Consumption = { inputTokens: 0n, outputTokens: 0n, spend: 0n };

/** Returns what `combine` makes of each field of two consumptions. */
export function combineFields(a: Consumption, b: Consumption, combine: (a: bigint, b: bigint) => bigint): Consumption {
  return {
    inputTokens: combine(a.inputTokens, b.inputTokens),
    outputTokens: combine(a.outputTokens, b.outputTokens),
    spend: combine(a.spend, b.spend),
  };
}

/** Returns the sum of two consumptions. */
export function addConsumption(a: Consumption, b: Consumption): Consumption {
  return combineFields(a, b, (one, other) => one + other);
}

/** Returns how much of a cap's metric a call takes. */
export function getAmount(metric: Metric, amounts: Amounts): bigint {
  switch (metric) {
    case 'requests':
      return amounts.requests;
    case 'tokens':
      return amounts.inputTokens + amounts.outputTokens;
    case 'spend':
      return amounts.spend;
    case 'answers':
    case 'streams':
    case 'resumed':
      return 1n;
  }
}
