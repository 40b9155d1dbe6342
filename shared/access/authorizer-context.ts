import * as v from 'valibot';
import { UNRESTRICTED } from './policy.ts';
import { hasExpired, type Principal } from './principal.ts';

/** What the authorizer passes on. */
export interface AuthorizedCaller extends Omit<Principal, 'policy' | 'expiresAt'> {
  /** The policy, as `joinPolicy` returns it. Absent if nothing is restricted. */
  readonly policy?: string | undefined;
  /** True if the project is archived. */
  readonly archived?: boolean;
  /** Epoch seconds until which the key is held. Absent if it isn't. */
  readonly heldUntil?: number | undefined;
  /** Epoch seconds from which the key or token is refused, even if API Gateway has cached that it isn't. */
  readonly expiresAt?: number | undefined;
}

/** Converts a caller to the authorizer's context, in which API Gateway allows only flat strings. */
export function toAuthorizerContext({
  tenant,
  keyId,
  scopes,
  policy,
  archived,
  heldUntil,
  expiresAt,
}: AuthorizedCaller): Record<string, string> {
  return {
    tenant,
    keyId,
    // An earlier version, which knows no archived projects or held keys, refuses a caller without scopes.
    scopes: archived || heldUntil !== undefined ? '' : scopes.join(' '),
    ...(archived && { archived: 'true' }),
    ...(heldUntil !== undefined && { heldUntil: String(heldUntil) }),
    ...(policy === undefined ? {} : { policy }),
    ...(expiresAt === undefined ? {} : { expiresAt: String(expiresAt) }),
  };
}

const name = v.pipe(v.string(), v.regex(/^[#A-Za-z0-9][A-Za-z0-9._-]{0,63}$/));
const seconds = v.optional(v.pipe(v.string(), v.toNumber()));
const contextSchema = v.object({
  tenant: name,
  keyId: name,
  scopes: v.string(),
  policy: v.optional(v.string()),
  archived: v.optional(v.string()),
  heldUntil: seconds,
  expiresAt: seconds,
});

/** The log fields of a caller. */
export interface CallerFields {
  readonly tenant?: string;
  readonly keyId?: string;
  /** Why the call is refused, if its error doesn't say so: a key may also be missing. */
  readonly reason?: 'expired' | undefined;
}

/** Returns who has called, also if the call must be refused. Empty if the authorizer's context is invalid. */
export function readCaller(context: unknown): CallerFields {
  const { output, success } = v.safeParse(contextSchema, context);
  return success
    ? { tenant: output.tenant, keyId: output.keyId, reason: hasExpired(output) ? 'expired' : undefined }
    : {};
}

/**
 * Parses the authorizer's context into a principal. Returns undefined if it is invalid or has expired.
 * @throws LambentError `project_archived`, `key_held`; `overloaded` for a policy that this version can't enforce
 */
export async function parseAuthorizerContext(context: unknown): Promise<Principal | undefined> {
  const { output, success } = v.safeParse(contextSchema, context);
  if (!success || hasExpired(output)) return undefined;
  const { tenant, keyId, scopes, policy, archived, heldUntil, expiresAt } = output;
  const isArchived = archived !== undefined;
  // Thrown even after the hold's end, while API Gateway has cached this context, because it has no scopes.
  if (isArchived || heldUntil !== undefined)
    throw (await import('./refused-caller.ts')).refusedCallerError(isArchived, heldUntil);
  const principal = { tenant, keyId, scopes: scopes.split(' '), policy: UNRESTRICTED, expiresAt };
  return policy === undefined
    ? principal
    : { ...principal, policy: (await import('./policy-json.ts')).parsePolicy(policy) };
}
