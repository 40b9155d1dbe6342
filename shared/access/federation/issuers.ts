import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../../aws/attributes.ts';
import { getItem, type Table } from '../../aws/table.ts';
import { LambentError } from '../../core/errors.ts';

/** The values that a token's claim may be compared with. */
const claimValue = v.union([v.string(), v.number(), v.boolean()]);
export type ClaimValue = v.InferOutput<typeof claimValue>;

const ruleSchema = v.object({
  /** Public id of the rule. */
  id: v.string(),
  tenant: v.string(),
  serviceAccount: v.string(),
  /** What the token's attributes must be, by their names. Never empty. */
  matchers: v.record(v.string(), claimValue),
  scopes: v.array(v.string()),
});

const trustSchema = v.object({
  providerId: v.string(),
  enabled: v.boolean(),
  issuer: v.string(),
  audience: v.string(),
  /** The issuer's public keys, or the URL of its metadata. */
  keys: v.union([v.object({ discoveryUrl: v.string() }), v.object({ jwks: v.record(v.string(), v.unknown()) })]),
  /** The path of the claim that an attribute is, by the attribute's name. */
  attributes: v.record(v.string(), v.array(v.string())),
  rules: v.array(ruleSchema),
});

/** Grants what a service account of a tenant may do to tokens with certain attributes. */
export type FederationRule = v.InferOutput<typeof ruleSchema>;

/** An issuer whose tokens for an audience are accepted, and what they may do. */
export type TrustedIssuer = v.InferOutput<typeof trustSchema>;

/** Returns the partition key, in the access table, of the tokens of an issuer for an audience. */
export function getIssuerPartition(issuer: string, audience: string): string {
  return `issuer#${createHash('sha256')
    .update(JSON.stringify([issuer, audience]))
    .digest('hex')}`;
}

/**
 * Creates the access table's item of a trusted issuer.
 * @param revision counts its changes
 */
export function createIssuerItem(trust: TrustedIssuer, revision: number): Item {
  return marshall({ pk: getIssuerPartition(trust.issuer, trust.audience), revision, json: JSON.stringify(trust) });
}

const itemSchema = v.object({
  revision: v.number(),
  json: v.pipe(v.string(), v.parseJson(), trustSchema),
});

/** @throws LambentError `record_unreadable` if the item isn't valid */
export function parseIssuerItem(item: Item): { readonly trust: TrustedIssuer; readonly revision: number } {
  const result = v.safeParse(itemSchema, unmarshall(item));
  if (result.success) return { trust: result.output.json, revision: result.output.revision };
  throw new LambentError('record_unreadable', 'An issuer in the access table is invalid.');
}

/** Finds the trusted issuer of tokens for an audience. Throws DynamoDB's errors, and `record_unreadable`. */
export type FindIssuer = (issuer: string, audience: string) => Promise<TrustedIssuer | undefined>;

/** Returns a function that finds trusted issuers in the access table, with one eventually consistent read each. */
export function createIssuerFinder(access: Table): FindIssuer {
  return async (issuer, audience) => {
    const item = await getItem(access, marshall({ pk: getIssuerPartition(issuer, audience) }), { eventual: true });
    return item && parseIssuerItem(item).trust;
  };
}
