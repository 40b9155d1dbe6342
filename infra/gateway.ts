import { createHash } from 'node:crypto';
import type { Resources, TemplateResource } from './template.ts';

/**
 * The same resources with a whole REST API, which osls leaves unfinished:
 * - the deployment waits for the GatewayResponses (it would show an API without them) and is named for what it deploys,
 *   so that the same API gives the same template;
 * - the stage is the resource of `infra/stage.yml`, with its limits and its log, and shows that deployment;
 * - what API Gateway answers by itself carries the CORS header of chat's own answers.
 * @param corsOrigin origin that browsers may call from; empty for none
 * @throws Error when the template has no deployment or no stage
 */
export function completeGateway(resources: Resources, corsOrigin: string): Resources {
  const all = Object.entries(resources).map(([id, resource]): Entry => [id, allowOrigin(resource, corsOrigin)]);
  const [deploymentId, deployment] = find(all, 'AWS::ApiGateway::Deployment');
  const [stageId, stage] = find(all, 'AWS::ApiGateway::Stage');
  const others = all.filter(([id]) => id !== deploymentId && id !== stageId);
  const shown = others.filter(([, { Type }]) => Type.startsWith('AWS::ApiGateway::'));
  const newId = `ApiGatewayDeployment${hash(shown)}`;
  return Object.fromEntries([
    ...others,
    [newId, { ...deployment, ...deploymentOf(shown) }],
    [stageId, { ...stage, Properties: { ...stage.Properties, DeploymentId: { Ref: newId } } }],
  ]);
}

type Entry = readonly [id: string, resource: TemplateResource];

function find(entries: readonly Entry[], type: string): Entry {
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

/** A snapshot of the API once all that it shows is there, without the stage that osls would have it make. */
function deploymentOf(shown: readonly Entry[]): Pick<TemplateResource, 'DependsOn' | 'Properties'> {
  const types = ['AWS::ApiGateway::Method', 'AWS::ApiGateway::GatewayResponse'];
  const ids = shown.filter(([, { Type }]) => types.includes(Type)).map(([id]) => id);
  return { DependsOn: ids.sort(), Properties: { RestApiId: { Ref: 'ApiGatewayRestApi' } } };
}

/** CloudFormation takes a new snapshot only under a new name. */
function hash(shown: readonly Entry[]): string {
  const sorted = shown.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, 16);
}
