import { LambentError } from '../core/errors.ts';
import type { Authorization, HttpRequest as GenericRequest, HttpRoute } from '../lambda/http-pipeline.ts';
import type { ProxyEvent } from '../lambda/proxy-event.ts';
import { parseAuthorizerContext, readCaller } from './authorizer-context.ts';
import { toNetwork } from './network.ts';
import { ORGANIZATION, type Principal } from './principal.ts';
import { collectKeyValues } from './request-keys.ts';
import { hasScope, type Scope } from './scopes.ts';

/** An HTTP request whose caller is a `Principal`. */
export type HttpRequest = GenericRequest<Principal>;

/** A route that requires a key. */
export type Route = HttpRoute<Principal>;

/**
 * Authorizes requests by the principal that the Lambda authorizer passed on. `authorize` throws LambentError
 * `invalid_api_key` if there is none or the request has several keys, `ip_not_authorized` if it may not be used from the
 * request's address, `certificate_not_authorized` if its client has no certificate that the project requires,
 * `insufficient_permissions` if it lacks the route's scope, or the route changes something and its project only reads.
 * @param scopes the scope of each route, by method and resource
 */
export function authorizePrincipals(scopes: Readonly<Record<string, Scope>>): Authorization<Principal> {
  return {
    async authorize(event) {
      // The authorizer sees no request whose key's policy API Gateway has cached, whatever other values it has.
      if (collectKeyValues(event).length > 1)
        throw new LambentError('invalid_api_key', 'More than one Authorization header was sent.');
      const principal = await parseAuthorizerContext(event.requestContext.authorizer);
      if (principal === undefined) throw new LambentError('invalid_api_key', 'The API key is missing or has expired.');
      await checkAddress(principal, event);
      await checkCertificate(principal, event);
      const scope = scopes[`${event.httpMethod} ${event.resource}`];
      if (scope === undefined || !hasScope(principal.scopes, scope))
        throw new LambentError('insufficient_permissions', `This API key lacks the scope \`${scope}\`.`);
      if (principal.policy.project?.readOnly) (await import('./sandbox.ts')).checkReading(scope);
      return principal;
    },
    describeCaller: ({ requestContext: { authorizer, identity } }) => ({
      ...readCaller(authorizer),
      network: toNetwork(identity?.sourceIp),
    }),
  };
}

/** Here and not in the authorizer, because API Gateway caches what that decides for a key, whatever the address. */
async function checkAddress({ policy }: Principal, { requestContext: { identity } }: ProxyEvent): Promise<void> {
  const ranges = policy.key?.ipRanges;
  if (ranges === undefined) return;
  const { checkClientAddress } = await import('./client-address.ts');
  checkClientAddress(identity?.sourceIp, ranges);
}

/**
 * Checks the client's certificate by those that are active for the project or the organization. Administrators are not
 * restricted: they could lock themselves out.
 */
async function checkCertificate({ tenant, policy }: Principal, { requestContext: { identity } }: ProxyEvent) {
  const active = [...(policy.account?.certificates ?? []), ...(policy.project?.certificates ?? [])];
  if (active.length === 0 || tenant === ORGANIZATION) return;
  const { checkClientCertificate } = await import('./client-certificate.ts');
  checkClientCertificate(identity?.clientCert?.clientCertPem, active);
}
