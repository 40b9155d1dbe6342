import * as v from 'valibot';
import { UNRESTRICTED } from './policy.ts';
import type { Principal } from './principal.ts';

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
const contextSchema = v.object({
  tenant: name,
  keyId: name,
  scopes: v.string(),
  policy: v.optional(v.string()),
  archived: v.optional(v.string()),
  heldUntil: v.optional(v.string()),
  expiresAt: v.optional(v.string()),
});

/** Returns who has called, also if the call must be refused. Empty if the authorizer's context is invalid. */
export function readCaller(context: unknown): { readonly tenant?: string; readonly keyId?: string } {
  const { output, success } = v.safeParse(contextSchema, context);
  return success ? { tenant: output.tenant, keyId: output.keyId } : {};
}

/**
 * Parses the authorizer's context into a principal. Returns undefined if it is invalid or has expired.
 * @throws LambentError `project_archived`, `key_held`; `overloaded` for a policy that this version can't enforce
 */
export async function parseAuthorizerContext(context: unknown): Promise<Principal | undefined> {
  const result = v.safeParse(contextSchema, context);
  if (!result.success) return undefined;
  const { tenant, keyId, scopes, policy, archived, heldUntil, expiresAt } = result.output;
  if (Number(expiresAt) * 1000 <= Date.now()) return undefined;
  if (archived !== undefined) throw (await import('./project-archived-error.ts')).projectArchivedError();
  // Thrown even after the hold's end, while API Gateway has cached this context, because it has no scopes.
  if (heldUntil !== undefined) throw (await import('./key-held-error.ts')).keyHeldError(Number(heldUntil));
  const expiry = expiresAt === undefined ? {} : { expiresAt: Number(expiresAt) };
  const principal = { tenant, keyId, scopes: scopes.split(' '), policy: UNRESTRICTED, ...expiry };
  return policy === undefined
    ? principal
    : { ...principal, policy: (await import('./policy-json.ts')).parsePolicy(policy) };
}
