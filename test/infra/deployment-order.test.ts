import { beforeAll, describe, expect, it } from 'vitest';
import { listReferences, type Template } from '../../infra/template.ts';
import { EVERYTHING, findByType, GPU_MODELS, GPU_SETTINGS, packageStage, packageWithModels } from './packaged.ts';

/** CloudFormation updates resources in any order, except that a resource waits for those that it refers to. */
describe.each(['the defaults', 'every option', 'GPU workers'])('an update of a stage with %s', (settings) => {
  let template: Template;
  beforeAll(async () => {
    template = await packageSettings(settings);
  });

  it("the API's new routes go live after API Gateway may call their functions", () => {
    const permissions = findByType(template, 'AWS::Lambda::Permission')
      .filter(({ properties }) => properties['Principal'] === 'apigateway.amazonaws.com')
      .map(({ id }) => id);
    expect(permissions).toHaveLength(7);
    const [stage] = findByType(template, 'AWS::ApiGateway::Stage');
    const [deployment] = findByType(template, 'AWS::ApiGateway::Deployment');
    expect(stage?.properties['DeploymentId']).toEqual({ Ref: deployment?.id });
    const needed = listNeeded(template, deployment?.id ?? '');
    expect(permissions.filter((id) => !needed.has(id))).toEqual([]);
  });

  it('a function changes after its role, and a queue reaches a function after its role', () => {
    const roles = new Map(
      findByType(template, 'AWS::Lambda::Function').map(({ id, properties }) => {
        const [role] = listReferences(properties['Role']);
        expect(listNeeded(template, id)).toContain(role);
        return [id, role ?? ''];
      }),
    );
    const mappings = findByType(template, 'AWS::Lambda::EventSourceMapping');
    expect(mappings.length).toBeGreaterThanOrEqual(3);
    for (const { id, properties } of mappings) {
      const [name = ''] = listReferences(properties['FunctionName']);
      expect(listNeeded(template, id)).toContain(roles.get(name));
    }
  });

  it('a role has its permissions before its function changes: none comes from a policy that nothing waits for', () => {
    expect(findByType(template, 'AWS::IAM::Policy')).toEqual([]);
    const roles = findByType(template, 'AWS::IAM::Role').map(({ id }) => listNeeded(template, id));
    for (const { id, properties } of findByType(template, 'AWS::IAM::ManagedPolicy')) {
      expect(properties).not.toHaveProperty('Roles');
      expect(
        roles.some((needed) => needed.has(id)),
        id,
      ).toBe(true);
    }
  });
});

function packageSettings(settings: string): Promise<Template> {
  if (settings === 'GPU workers') return packageWithModels(GPU_MODELS, ...GPU_SETTINGS);
  return settings === 'every option' ? packageStage(...EVERYTHING) : packageStage();
}

/** Returns the ids of all resources that CloudFormation finishes before it begins with a resource. */
function listNeeded({ Resources }: Template, id: string): Set<string> {
  const needed = new Set<string>();
  const visit = (each: string): void => {
    const { DependsOn = [], Properties } = Resources[each] ?? {};
    for (const next of [DependsOn, listReferences(Properties)].flat()) {
      if (!(next in Resources) || needed.has(next)) continue;
      needed.add(next);
      visit(next);
    }
  };
  visit(id);
  return needed;
}
