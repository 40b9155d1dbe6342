import { isObject } from '../../core/objects.ts';
import type { ClaimValue, FederationRule, TrustedIssuer } from './issuers.ts';

/** The verified claims of a token. */
export type Claims = Readonly<Record<string, unknown>>;

/** Returns the rules of an issuer that a token with these claims meets. */
export function selectRules({ rules, attributes }: Pick<TrustedIssuer, 'rules' | 'attributes'>, claims: Claims) {
  const matches = ([name, wanted]: [string, ClaimValue]): boolean =>
    hasValue(findAttribute({ attributes }, claims, name), wanted);
  // A rule without conditions would admit every token of the issuer, of which there may be millions.
  return rules.filter(({ matchers }) => {
    const entries = Object.entries(matchers);
    return entries.length > 0 && entries.every(matches);
  });
}

/** Returns the value of a token's attribute: of the claim that its issuer has for it, or else of the claim of this name. */
export function findAttribute(
  { attributes }: Pick<TrustedIssuer, 'attributes'>,
  claims: Claims,
  name: string,
): unknown {
  const path = Object.hasOwn(attributes, name) ? attributes[name] : undefined;
  return path === undefined ? findClaim(claims, name) : follow(claims, path);
}

/** Returns the claim of this name, or else the one at the path whose steps are separated by dots: `realm_access.roles`. */
function findClaim(claims: Claims, name: string): unknown {
  return Object.hasOwn(claims, name) ? claims[name] : follow(claims, name.split('.'));
}

function follow(claims: unknown, path: readonly string[]): unknown {
  return path.reduce(
    (value, step) => (isObject(value) && Object.hasOwn(value, step) ? value[step] : undefined),
    claims,
  );
}

/** Returns whether a claim is the value, or a list that contains it. */
function hasValue(claim: unknown, wanted: ClaimValue): boolean {
  return Array.isArray(claim) ? claim.includes(wanted) : claim === wanted;
}

/** What the rules that a token meets grant together. */
export interface Grant extends Pick<FederationRule, 'tenant' | 'serviceAccount' | 'scopes'> {
  readonly rules: readonly FederationRule[];
}

/** Returns what rules grant, or undefined if they are of different service accounts or there are none. */
export function joinRules(rules: readonly FederationRule[]): Grant | undefined {
  const [first] = rules;
  if (first === undefined) return undefined;
  const { tenant, serviceAccount } = first;
  if (rules.some((rule) => rule.tenant !== tenant || rule.serviceAccount !== serviceAccount)) return undefined;
  const scopes = [...new Set(rules.flatMap((rule) => rule.scopes))];
  return { tenant, serviceAccount, scopes, rules };
}
