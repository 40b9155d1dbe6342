import { once } from '../../core/once.ts';
import { type FederatedRules, fingerprintRule } from './federated-rules.ts';
import type { FindIssuer, TrustedIssuer } from './issuers.ts';
import { type Claims, type Grant, joinRules, selectRules } from './rules.ts';
import { parseToken } from './token.ts';
import { type FindUser, getIdentity, selectProject } from './users.ts';

/** Who a token of a trusted issuer stands for: a service account, or a user if no rule is met. Then `serviceAccount` is the user's id. */
export interface FederatedCaller extends Grant {
  /** What restricts a user, as JSON. Absent without restrictions, and for service accounts, whose restrictions are elsewhere. */
  readonly policy?: string | undefined;
  readonly issuer: string;
  readonly audience: string;
  /** The token's `sub`. */
  readonly subject: string;
  /** Epoch seconds from which the token is refused. */
  readonly expiresAt: number;
}

/** Narrows what a token is accepted for. */
export interface Wanted {
  readonly providerId?: string;
  readonly serviceAccount?: string;
}

/** Accepts tokens of the issuers that the deployment trusts. */
export interface Federation {
  /**
   * Returns who a token stands for, or the reason as a text if it is refused.
   * @throws DynamoDB's errors; LambentError `issuer_unavailable` if the issuer's keys aren't known
   */
  authenticate(token: string, wanted?: Wanted): Promise<FederatedCaller | string>;
  /**
   * Returns the scopes that rules still grant: an empty list if the rules were changed or deleted, or their issuer isn't trusted any
   * more. Throws DynamoDB's errors.
   */
  listGranted(rules: FederatedRules): Promise<readonly string[]>;
}

/**
 * Creates the federation. The code that verifies tokens is loaded with the first token of a trusted issuer.
 * @param isLoopbackAllowed true to permit issuers on `http://127.0.0.1`
 * @param findUser finds the users of tokens that meet no rule. Default: finds no user
 */
export function createFederation(
  findIssuer: FindIssuer,
  isLoopbackAllowed: boolean,
  findUser: FindUser = async () => undefined,
): Federation {
  const loadVerifier = once(async () => {
    const { createTokenVerifier } = await import('./verify-token.ts');
    return createTokenVerifier(isLoopbackAllowed);
  });
  /** Returns what the user of a token may do, or the reason as a text if the token is refused. */
  const findGrant = async (
    trust: TrustedIssuer,
    claims: Claims,
    subject: string,
  ): Promise<(Grant & Pick<FederatedCaller, 'policy'>) | string> => {
    const user = await findUser(getIdentity(trust.providerId, claims, subject));
    if (user === undefined) return 'no rule for the token';
    if (user.subject !== null && user.subject !== subject) return 'another subject than the user';
    const project = selectProject(user, trust, claims);
    if (typeof project === 'string') return project;
    const { tenant, scopes } = project;
    return { tenant, serviceAccount: user.userId, scopes, rules: [], policy: user.policy };
  };
  return {
    async authenticate(text, wanted = {}) {
      const token = parseToken(text);
      if (token === undefined) return 'not a token';
      const found = await Promise.all(token.audiences.map((audience) => findIssuer(token.issuer, audience)));
      const trusted = found.filter((each) => each?.enabled && isWanted(each.providerId, wanted.providerId));
      const [trust, ...others] = trusted.filter((each) => each !== undefined);
      if (trust === undefined) return 'unknown issuer or audience';
      if (others.length > 0) return 'several trusted audiences';
      const verifier = await loadVerifier();
      const verified = await verifier.verify(token, trust);
      if (typeof verified === 'string') return verified;
      const { claims, subject, expiresAt } = verified;
      const rules = selectRules(trust, claims).filter((rule) => isWanted(rule.serviceAccount, wanted.serviceAccount));
      const grant = rules.length === 0 ? await findGrant(trust, claims, subject) : joinRules(rules);
      if (typeof grant === 'string') return grant;
      if (grant === undefined) return 'rules of several service accounts';
      return { ...grant, issuer: trust.issuer, audience: trust.audience, subject, expiresAt };
    },

    async listGranted({ issuer, audience, rules }) {
      const trust = await findIssuer(issuer, audience);
      if (!trust?.enabled) return [];
      return trust.rules.filter((rule) => rules.includes(fingerprintRule(rule))).flatMap(({ scopes }) => scopes);
    },
  };
}

function isWanted(value: string, wanted: string | undefined): boolean {
  return wanted === undefined || value === wanted;
}
