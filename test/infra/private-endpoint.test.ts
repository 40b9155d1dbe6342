import { beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { makeSettings } from './make-settings.ts';
import { packageStage } from './packaged.ts';

const ENDPOINTS = ['vpce-0123456789abcdef0', 'vpce-01234567'];

let regional: Template;
let privateStage: Template;
beforeAll(async () => {
  [regional, privateStage] = await Promise.all([
    packageStage(),
    packageStage('--param', `vpcEndpoints=${ENDPOINTS.join(',')}`),
  ]);
});

const getApi = ({ Resources }: Template) => Object(Resources['ApiGatewayRestApi']?.Properties);
const findDeployment = ({ Resources }: Template) =>
  Object.keys(Resources).find((id) => id.startsWith('ApiGatewayDeployment'));

describe('a private endpoint', () => {
  it('the endpoint is regional by default, without a resource policy', () => {
    expect(getApi(regional)).toMatchObject({ EndpointConfiguration: { Types: ['REGIONAL'] }, Policy: '' });
    expect(getApi(regional).EndpointConfiguration).not.toHaveProperty('VpcEndpointIds');
  });

  it('a private endpoint is associated with the VPC endpoints', () => {
    expect(getApi(privateStage).EndpointConfiguration).toEqual({ Types: ['PRIVATE'], VpcEndpointIds: ENDPOINTS });
  });

  it('a private endpoint refuses requests through other VPC endpoints', () => {
    const invoke = { Principal: '*', Action: ['execute-api:Invoke'], Resource: 'execute-api:/*' };
    expect(getApi(privateStage).Policy).toEqual({
      Version: '2012-10-17',
      Statement: [
        { Effect: 'Allow', ...invoke },
        { Effect: 'Deny', ...invoke, Condition: { StringNotEquals: { 'aws:SourceVpce': ENDPOINTS } } },
      ],
    });
  });

  it('a change of the endpoint deploys the API again, because a policy applies only then', () => {
    expect(findDeployment(privateStage)).not.toBe(findDeployment(regional));
  });

  it('a private endpoint streams like a regional one', () => {
    const methods = Object.values(privateStage.Resources).filter(
      ({ Type, Properties }) =>
        Type === 'AWS::ApiGateway::Method' && Object(Properties?.['Integration']).Type !== 'MOCK',
    );
    expect(methods.length).toBeGreaterThan(0);
    for (const { Properties } of methods)
      expect(Object(Properties?.['Integration'])).toMatchObject({ ResponseTransferMode: 'STREAM' });
  });

  it.each([
    [{ vpcEndpoints: 'vpc-0123456789abcdef0' }, 'but must be ids of VPC endpoints'],
    [{ vpcEndpoints: `${ENDPOINTS[0]},` }, 'but must be ids of VPC endpoints'],
    [
      {
        vpcEndpoints: ENDPOINTS[0],
        domainName: 'api.example.com',
        domainCertificate: 'arn:aws:acm:eu-west-1:123456789012:certificate/0123',
      },
      "domainName can't be used with vpcEndpoints",
    ],
  ])('the settings %j are rejected', (settings, message) => {
    expect(() => makeSettings(settings)).toThrow(message);
  });
});
