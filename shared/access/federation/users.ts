import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { type Item, marshall, unmarshall } from '../../aws/attributes.ts';
import { deleteItem, getItem, putItem, type Table } from '../../aws/table.ts';
import { LambentError } from '../../core/errors.ts';
import { newId } from '../../core/ids.ts';
import { repeatChange } from '../repeat-changes.ts';
import type { TrustedIssuer } from './issuers.ts';
import { type Claims, findAttribute } from './rules.ts';

/** A claim by which the tokens of a provider name a user. */
export interface Identity {
  readonly providerId: string;
  readonly claim: 'email' | 'subject';
  readonly value: string;
}

const userSchema = v.object({
  /** Public id of the user. */
  userId: v.string(),
  /** The `sub` that the user's tokens must have. Null: any. */
  subject: v.nullable(v.string()),
  /** The projects of the user, and what it may do there. */
  projects: v.array(
    v.object({
      tenant: v.string(),
      scopes: v.array(v.string()),
      /** True if the project is archived. */
      archived: v.optional(v.boolean()),
    }),
  ),
  /** What restricts the user's tokens, as `encodeRestrictions` returns it. Default: nothing. */
  policy: v.optional(v.string()),
});

/** What a user may do, as the authorizer knows it. */
export type TrustedUser = v.InferOutput<typeof userSchema>;

/** Finds a user. Throws DynamoDB's errors, and LambentError `record_unreadable`. */
export type FindUser = (identity: Identity) => Promise<TrustedUser | undefined>;

/**
 * Returns the claim by which a verified token names its user: the e-mail address if the issuer has verified it, or else the
 * subject. Users choose their unverified addresses themselves.
 */
export function getIdentity(providerId: string, { email, email_verified }: Claims, subject: string): Identity {
  return typeof email === 'string' && email_verified === true
    ? { providerId, claim: 'email', value: email.toLowerCase() }
    : { providerId, claim: 'subject', value: subject };
}

/** The attribute of a token that names one of its user's projects. */
const PROJECT_ATTRIBUTE = 'lambent_project';

/**
 * Returns what a user may do in the project that its token names, or in its only one. Archived projects are chosen only if the token
 * names them or there is no other. Returns the reason as a text if the user may do nothing.
 */
export function selectProject(
  { projects }: TrustedUser,
  trust: Pick<TrustedIssuer, 'attributes'>,
  claims: Claims,
): TrustedUser['projects'][number] | string {
  const named = findAttribute(trust, claims, PROJECT_ATTRIBUTE);
  const found = projects.filter(({ tenant }) => named === undefined || tenant === named);
  const active = found.filter(({ archived }) => !archived);
  const [project, ...others] = active.length > 0 ? active : found;
  if (project === undefined) return 'user without the project';
  return others.length === 0 ? project : 'user of several projects';
}

/** Returns a function that finds users in the access table, with one eventually consistent read each. */
export function createUserFinder(access: Table): FindUser {
  return async (identity) => {
    const item = await getItem(access, toKey(identity), { eventual: true });
    return item && parseItem(item).user;
  };
}

/**
 * Replaces what the authorizer knows of a user by what `compute` returns, or forgets the user if that is undefined. `compute` is
 * called after each concurrent write, so that the last write has seen all that was stored before it. Idempotent.
 * @returns false, and changes nothing, if another user has the identity
 * @throws DynamoDB's errors; LambentError `overloaded` if other writers keep changing the same user
 */
export function replaceUser(
  access: Table,
  identity: Identity,
  userId: string,
  compute: () => Promise<TrustedUser | undefined>,
): Promise<boolean> {
  const key = toKey(identity);
  return repeatChange(`the user ${userId}`, async () => {
    const stored = await getItem(access, key);
    const before = stored && parseItem(stored);
    if (before !== undefined && before.user.userId !== userId) return false;
    const user = await compute();
    if (user === undefined && before === undefined) return true;
    const condition =
      before === undefined
        ? { condition: 'attribute_not_exists(pk)' }
        : { condition: 'version = :version', values: marshall({ ':version': before.version }) };
    const isWritten =
      user === undefined
        ? await deleteItem(access, key, condition)
        : await putItem(access, { ...key, ...marshall({ version: newId(16), json: JSON.stringify(user) }) }, condition);
    return isWritten || 'changed';
  });
}

function toKey({ providerId, claim, value }: Identity): Item {
  const hash = createHash('sha256').update(JSON.stringify([providerId, claim, value]));
  return marshall({ pk: `user#${hash.digest('hex')}` });
}

const itemSchema = v.object({ version: v.string(), json: v.pipe(v.string(), v.parseJson(), userSchema) });

function parseItem(item: Item): { readonly user: TrustedUser; readonly version: string } {
  const result = v.safeParse(itemSchema, unmarshall(item));
  if (result.success) return { user: result.output.json, version: result.output.version };
  throw new LambentError('record_unreadable', 'A user in the access table is invalid.');
}
