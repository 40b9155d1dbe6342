import { createHash } from 'node:crypto';
import type { Resources, TemplateResource } from './template.ts';

/**
 * Returns the resources with a complete REST API. osls leaves four things to do:
 * - The deployment must depend on the GatewayResponses, or its snapshot would lack them, and on the permissions with
 *   which API Gateway calls functions, or new routes would answer 500 until these exist. Its logical id is a hash of the
 *   API, so that the same API gives the same template.
 * - The stage is the resource of `infra/stage.yml`, with throttling and logging, and must refer to that deployment.
 * - API Gateway's own error responses need the CORS header that the functions' responses have.
 * - The authorizer that isn't cached must call the same alias of the function as the cached one, which osls made.
 * @param corsOrigin origin that browsers may call from; empty for none
 * @throws Error when the template has no deployment or no stage
 */
export function completeGateway(resources: Resources, corsOrigin: string): Resources {
  const cached = resources['AuthorizeApiGatewayAuthorizer'];
  const all = Object.entries(resources).map(
    ([id, resource]): Entry => [id, useFunctionOf(cached, allowOrigin(resource, corsOrigin))],
  );
  const [deploymentId, deployment] = findResource(all, 'AWS::ApiGateway::Deployment');
  const [stageId, stage] = findResource(all, 'AWS::ApiGateway::Stage');
  const others = all.filter(([id]) => id !== deploymentId && id !== stageId);
  const api = others.filter(([, { Type }]) => Type.startsWith('AWS::ApiGateway::'));
  const newId = `ApiGatewayDeployment${hashApi(api, listFunctionNames(others))}`;
  return Object.fromEntries([
    ...others,
    [newId, { ...deployment, ...createSnapshot(others) }],
    [stageId, { ...stage, Properties: { ...stage.Properties, DeploymentId: { Ref: newId } } }],
  ]);
}

type Entry = readonly [id: string, resource: TemplateResource];

function findResource(entries: readonly Entry[], type: string): Entry {
  const found = entries.find(([, { Type }]) => Type === type);
  if (found === undefined) throw new Error(`The template has no ${type}`);
  return found;
}

function allowOrigin(resource: TemplateResource, origin: string): TemplateResource {
  if (resource.Type !== 'AWS::ApiGateway::GatewayResponse' || origin === '') return resource;
  const header = { 'gatewayresponse.header.access-control-allow-origin': `'${origin}'` };
  const parameters = { ...Object(resource.Properties?.['ResponseParameters']), ...header };
  return { ...resource, Properties: { ...resource.Properties, ResponseParameters: parameters } };
}

/** Returns an authorizer with the function of another one; any other resource unchanged. */
function useFunctionOf(authorizer: TemplateResource | undefined, resource: TemplateResource): TemplateResource {
  if (authorizer === undefined || resource.Type !== 'AWS::ApiGateway::Authorizer') return resource;
  const { DependsOn, Properties } = authorizer;
  const AuthorizerUri = Properties?.['AuthorizerUri'];
  return {
    ...resource,
    ...(DependsOn !== undefined && { DependsOn }),
    Properties: { ...resource.Properties, AuthorizerUri },
  };
}

/** Returns a deployment's fields. Unlike osls's, it creates no stage. */
function createSnapshot(resources: readonly Entry[]): Pick<TemplateResource, 'DependsOn' | 'Properties'> {
  const types = ['AWS::ApiGateway::Method', 'AWS::ApiGateway::GatewayResponse'];
  const isNeeded = ({ Type, Properties }: TemplateResource) =>
    types.includes(Type) ||
    (Type === 'AWS::Lambda::Permission' && Properties?.['Principal'] === 'apigateway.amazonaws.com');
  const ids = resources.filter(([, resource]) => isNeeded(resource)).map(([id]) => id);
  return { DependsOn: ids.sort(), Properties: { RestApiId: { Ref: 'ApiGatewayRestApi' } } };
}

/** Returns the names of all functions. A snapshot has the ARNs of functions, which the API has as references. */
function listFunctionNames(resources: readonly Entry[]): unknown[] {
  const functions = resources.filter(([, { Type }]) => Type === 'AWS::Lambda::Function');
  return functions.map(([, { Properties }]) => Properties?.['FunctionName']).sort();
}

/** Returns a hash of the API. CloudFormation takes a new snapshot only if the deployment's logical id changes. */
function hashApi(api: readonly Entry[], functionNames: readonly unknown[]): string {
  const sorted = api.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([sorted, functionNames]))
    .digest('hex')
    .slice(0, 16);
}
