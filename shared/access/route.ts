import { LambentError } from '../core/errors.ts';
import type { Authorization, HttpRequest as GenericRequest, HttpRoute } from '../lambda/http-pipeline.ts';
import { collectKeyValues, parseAuthorizerContext } from './keys.ts';
import type { Principal, Scope } from './principal.ts';

/** An HTTP request whose caller is a `Principal`. */
export type HttpRequest = GenericRequest<Principal>;

/** A route that requires a key with a scope. */
export interface Route extends HttpRoute<Principal> {
  /** The scope that the key must have. */
  readonly scope: Scope;
}

/**
 * Authorizes requests by the principal that the Lambda authorizer passed on. `authorize` throws LambentError
 * `invalid_api_key` if there is none or the request has several keys, `insufficient_permissions` if it lacks the route's
 * scope.
 */
export const principalAuthorization: Authorization<Principal, Route> = {
  authorize(event, { scope }) {
    // The authorizer sees no request whose key's policy API Gateway has cached, whatever other values it has.
    if (collectKeyValues(event).length > 1)
      throw new LambentError('invalid_api_key', 'More than one Authorization header was sent.');
    const principal = parseAuthorizerContext(event.requestContext.authorizer);
    if (principal === undefined) throw new LambentError('invalid_api_key', 'No API key was provided.');
    if (principal.scopes.includes(scope)) return principal;
    throw new LambentError('insufficient_permissions', `This API key lacks the scope \`${scope}\`.`);
  },
  logFields: ({ tenant, keyId }) => ({ tenant, keyId }),
};
