import { createHash } from 'node:crypto';
import type { Resources, TemplateResource } from './template.ts';

/** The stage of `infra/stage.yml`. */
const STAGE = 'ApiGatewayStage';

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
  const withCors = Object.entries(resources).map(
    ([id, resource]) => [id, isAnswer(resource) ? allowOrigin(resource, corsOrigin) : resource] as const,
  );
  const [deploymentId, deployment] = find(withCors, 'AWS::ApiGateway::Deployment');
  const [, stage] = find(withCors, 'AWS::ApiGateway::Stage');
  const shown = withCors.filter(
    ([id, { Type }]) => Type.startsWith('AWS::ApiGateway::') && ![deploymentId, STAGE].includes(id),
  );
  const newId = `ApiGatewayDeployment${hash(shown)}`;
  const { StageName: _, ...properties } = deployment.Properties ?? {};
  return {
    ...Object.fromEntries(withCors.filter(([id]) => id !== deploymentId)),
    [newId]: {
      ...deployment,
      DependsOn: shown
        .filter(([, resource]) => isMethod(resource) || isAnswer(resource))
        .map(([id]) => id)
        .sort(),
      Properties: properties,
    },
    [STAGE]: { ...stage, Properties: { ...stage.Properties, DeploymentId: { Ref: newId } } },
  };
}

function find(
  resources: readonly (readonly [string, TemplateResource])[],
  type: string,
): readonly [string, TemplateResource] {
  const found = resources.find(([, { Type }]) => Type === type);
  if (found === undefined) throw new Error(`The template has no ${type}`);
  return found;
}

const isMethod = ({ Type }: TemplateResource) => Type === 'AWS::ApiGateway::Method';
const isAnswer = ({ Type }: TemplateResource) => Type === 'AWS::ApiGateway::GatewayResponse';

function allowOrigin(answer: TemplateResource, origin: string): TemplateResource {
  if (origin === '') return answer;
  const header = { 'gatewayresponse.header.access-control-allow-origin': `'${origin}'` };
  const parameters = { ...Object(answer.Properties?.['ResponseParameters']), ...header };
  return { ...answer, Properties: { ...answer.Properties, ResponseParameters: parameters } };
}

/** CloudFormation makes a deployment, a snapshot of the API, only under a new name. */
function hash(shown: readonly (readonly [string, TemplateResource])[]): string {
  const sorted = shown.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex').slice(0, 16);
}
