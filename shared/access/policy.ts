import type { APIGatewayAuthorizerResult } from 'aws-lambda';

/**
 * Allows every method and path of the stage: API Gateway caches the answer under the key alone and uses it for all
 * routes, so a narrower one would refuse a caller's next, different call. What a key may do is checked per request,
 * by its scopes.
 * @param methodArn `arn:aws:execute-api:region:account:api/stage/METHOD/path`
 */
export function createAllowPolicy(
  methodArn: string,
  principalId: string,
  context: Record<string, string>,
): APIGatewayAuthorizerResult {
  return { principalId, policyDocument: policy('Allow', methodArn), context };
}

/**
 * Denies everything. An answer, not an error: strangers' keys then neither count as the function's failures nor reach
 * it again while the answer is cached.
 */
export function createDenyPolicy(methodArn: string): APIGatewayAuthorizerResult {
  return { principalId: 'nobody', policyDocument: policy('Deny', methodArn) };
}

function policy(effect: 'Allow' | 'Deny', methodArn: string): APIGatewayAuthorizerResult['policyDocument'] {
  const [api, stage] = methodArn.split('/');
  return {
    Version: '2012-10-17',
    Statement: [{ Action: 'execute-api:Invoke', Effect: effect, Resource: `${api}/${stage}/*/*` }],
  };
}
