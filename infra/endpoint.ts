import type { Settings } from './settings-schema.ts';

/** What osls gives the REST API. Null stands for AWS's default. */
interface Endpoint {
  readonly type: 'REGIONAL' | 'PRIVATE';
  readonly vpcEndpointIds: readonly string[] | null;
  readonly resourcePolicy: readonly object[] | null;
  readonly isDefaultDisabled: boolean;
  readonly tls: { readonly securityPolicy: string; readonly accessMode: 'BASIC' } | null;
}

/**
 * Returns the endpoint of the API: private if `vpcEndpoints` names VPC endpoints, and then for requests through these only.
 *
 * Requests to a domain of its own are encrypted by the policy of the API, so that it has the domain's.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-custom-domain-tls-version.html
 */
export function createEndpoint({ domainTruststore, tlsPolicy, vpcEndpoints }: Settings): Endpoint {
  const isPrivate = vpcEndpoints.length > 0;
  return {
    type: isPrivate ? 'PRIVATE' : 'REGIONAL',
    vpcEndpointIds: isPrivate ? vpcEndpoints : null,
    resourcePolicy: isPrivate ? createResourcePolicy(vpcEndpoints) : null,
    // The default endpoint asks for no certificate.
    isDefaultDisabled: domainTruststore !== '',
    tls: isEnhanced(tlsPolicy) ? { securityPolicy: tlsPolicy, accessMode: 'BASIC' } : null,
  };
}

/**
 * A private API without a policy refuses every request.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-resource-policies-examples.html
 */
function createResourcePolicy(vpcEndpoints: readonly string[]): object[] {
  const invoke = { Principal: '*', Action: 'execute-api:Invoke', Resource: 'execute-api:/*' };
  return [
    { Effect: 'Allow', ...invoke },
    { Effect: 'Deny', ...invoke, Condition: { StringNotEquals: { 'aws:SourceVpce': vpcEndpoints } } },
  ];
}

/** True for a policy that requires an endpoint access mode. */
export function isEnhanced(tlsPolicy: string): boolean {
  return tlsPolicy.startsWith('SecurityPolicy_');
}
