import type { APIGatewayAuthorizerResult } from 'aws-lambda';

/**
 * Returns a policy that allows every method and path of the stage. API Gateway caches the policy per key and applies it
 * to all routes, so a narrower policy would deny the caller's next request to another route. The key's scopes are
 * checked for each request.
 * @param methodArn `arn:aws:execute-api:region:account:api/stage/METHOD/path`
 */
export function createAllowPolicy(
  methodArn: string,
  principalId: string,
  context: Record<string, string>,
): APIGatewayAuthorizerResult {
  return { principalId, policyDocument: createPolicyDocument('Allow', methodArn), context };
}

/**
 * Returns a policy that denies everything. Unlike an error, it is cached, and unknown keys don't count as failures of
 * the authorizer.
 */
export function createDenyPolicy(methodArn: string): APIGatewayAuthorizerResult {
  return { principalId: 'nobody', policyDocument: createPolicyDocument('Deny', methodArn) };
}

function createPolicyDocument(
  effect: 'Allow' | 'Deny',
  methodArn: string,
): APIGatewayAuthorizerResult['policyDocument'] {
  const [api, stage] = methodArn.split('/');
  return {
    Version: '2012-10-17',
    Statement: [{ Action: 'execute-api:Invoke', Effect: effect, Resource: `${api}/${stage}/*/*` }],
  };
}
