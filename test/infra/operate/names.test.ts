import { expect, it } from 'vitest';
import { NAMED_RESOURCES } from '../../../infra/operate/preflight/named-resources.ts';
import { readFixedName } from '../../../infra/operate/preflight/names.ts';
import { EVERYTHING, packageStage, packageWithGpus } from '../packaged.ts';

/** Types whose names belong to another resource, or need not be unique in an account. */
const NOT_UNIQUE = [
  'AWS::ApiGateway::Authorizer',
  'AWS::ApiGateway::RestApi',
  'AWS::ApiGateway::Stage',
  'AWS::ECS::Service',
  'AWS::Lambda::Alias',
];

it('the preflight checks each name of its own that a template gives a resource', async () => {
  const edge = ['domainName=api.example.com', 'domainCertificate=arn:aws:acm:eu-west-1:123456789012:certificate/c'];
  const settings = [...edge, 'firewall=true'].flatMap((setting) => ['--param', setting]);
  const templates = await Promise.all([packageStage(...EVERYTHING, ...settings), packageWithGpus()]);
  const named = templates.flatMap(({ Resources }) =>
    Object.values(Resources).flatMap((resource) => (readFixedName(resource) === undefined ? [] : resource.Type)),
  );
  expect([...new Set(named)].filter((type) => !NOT_UNIQUE.includes(type)).sort()).toEqual(
    Object.keys(NAMED_RESOURCES).sort(),
  );
});
