import * as v from 'valibot';
import { UNRESTRICTED } from './policy.ts';
import type { Principal } from './principal.ts';

/** Converts a principal to the authorizer's context, in which API Gateway allows only flat strings. */
export function toAuthorizerContext({ tenant, keyId, scopes }: Omit<Principal, 'policy'>): Record<string, string> {
  return { tenant, keyId, scopes: scopes.join(' ') };
}

const name = v.pipe(v.string(), v.regex(/^[#A-Za-z0-9][A-Za-z0-9._-]{0,63}$/));
const contextSchema = v.object({ tenant: name, keyId: name, scopes: v.string() });

/** Parses the authorizer's context into a principal. Returns undefined if it is invalid. */
export function parseAuthorizerContext(context: unknown): Principal | undefined {
  const result = v.safeParse(contextSchema, context);
  if (!result.success) return undefined;
  const { scopes, ...caller } = result.output;
  return { ...caller, scopes: scopes.split(' '), policy: UNRESTRICTED };
}
