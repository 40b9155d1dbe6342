/** The signs of abuse that keys are watched for. */
export const ABUSE_SIGNS = ['networks', 'refusals', 'rate'] as const;
export type AbuseSign = (typeof ABUSE_SIGNS)[number];

/** The section `abuse` of a policy. Null turns a rule off. */
export interface AbuseSection {
  readonly networksPerHour?: number | null | undefined;
  readonly refusalsPerHour?: number | null | undefined;
  readonly timesUsualRate?: number | null | undefined;
  readonly leastCallsPerHour?: number | undefined;
  readonly hold?: readonly AbuseSign[] | undefined;
  readonly holdSeconds?: number | undefined;
}

/** When the use of a key is a sign of abuse, and what follows. Hours are those of the clock. */
export interface AbuseRules {
  /** The least number of networks from which one key is used in an hour that is a sign. */
  readonly networksPerHour: number | null;
  /** The least number of one key's requests and answers that content rules and guardrails refuse in an hour that is a sign. */
  readonly refusalsPerHour: number | null;
  /** The least multiple of the calls in a project's busiest hour of the week before that is a sign. */
  readonly timesUsualRate: number | null;
  /** With fewer calls in an hour, the rate of a project is never a sign. */
  readonly leastCallsPerHour: number;
  /** The signs for which a key is held. Others are only reported. */
  readonly hold: readonly AbuseSign[];
  readonly holdSeconds: number;
}

/** The most networks that are counted for a key and hour, so that its item stays small. */
export const MAX_NETWORKS = 200;

/**
 * By default no key is held: a user of an application could get the application's key held by sending what its rules refuse. Only
 * the operator can say which is worse, the abuse or the hold.
 */
const DEFAULT_RULES: AbuseRules = {
  networksPerHour: 20,
  refusalsPerHour: 50,
  timesUsualRate: 5,
  leastCallsPerHour: 1_000,
  hold: [],
  holdSeconds: 86_400,
};

/** Returns the rules for a project. Each is the project's own, or else the account's, or else the default. */
export function resolveAbuseRules(account: AbuseSection = {}, project: AbuseSection = {}): AbuseRules {
  const choose = <Name extends keyof AbuseRules>(name: Name): AbuseRules[Name] => {
    const own = project[name] === undefined ? account[name] : project[name];
    return (own === undefined ? DEFAULT_RULES[name] : own) as AbuseRules[Name];
  };
  return {
    networksPerHour: choose('networksPerHour'),
    refusalsPerHour: choose('refusalsPerHour'),
    timesUsualRate: choose('timesUsualRate'),
    leastCallsPerHour: choose('leastCallsPerHour'),
    hold: choose('hold'),
    holdSeconds: choose('holdSeconds'),
  };
}
