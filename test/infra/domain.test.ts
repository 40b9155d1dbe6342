import { beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { makeSettings } from './make-settings.ts';
import { findByType, packageStage } from './packaged.ts';

const CERTIFICATE = 'arn:aws:acm:eu-west-1:123456789012:certificate/0123-abc';
const DOMAIN = { domainName: 'api.example.com', domainCertificate: CERTIFICATE };
const TRUSTSTORE = 's3://my-ca/clients.pem';

const packageWith = (settings: Readonly<Record<string, string>>) =>
  packageStage(...Object.entries(settings).flatMap(([name, value]) => ['--param', `${name}=${value}`]));

let none: Template;
let plain: Template;
let mutual: Template;
let enhanced: Template;
beforeAll(async () => {
  [none, plain, mutual, enhanced] = await Promise.all([
    packageStage(),
    packageWith(DOMAIN),
    packageWith({ ...DOMAIN, domainTruststore: TRUSTSTORE }),
    packageWith({ ...DOMAIN, tlsPolicy: 'SecurityPolicy_TLS13_1_3_2025_09' }),
  ]);
});

const getApi = ({ Resources }: Template) => Resources['ApiGatewayRestApi']?.Properties;
const getDomain = ({ Resources }: Template) => Resources['ApiDomain']?.Properties;

describe('a domain of its own', () => {
  it('a domain is absent by default, with its outputs, and the default endpoint is enabled', () => {
    expect(findByType(none, 'AWS::ApiGateway::DomainName')).toEqual([]);
    expect(findByType(none, 'AWS::ApiGateway::BasePathMapping')).toEqual([]);
    expect(Object.keys(none.Outputs ?? {}).filter((name) => name.startsWith('Domain'))).toEqual([]);
    expect(getApi(none)).toMatchObject({
      DisableExecuteApiEndpoint: false,
      EndpointConfiguration: { Types: ['REGIONAL'] },
    });
    expect(getApi(none)).not.toHaveProperty('SecurityPolicy');
  });

  it('a domain is regional, has the certificate, and serves the stage without a base path', () => {
    expect(getDomain(plain)).toMatchObject({
      DomainName: 'api.example.com',
      EndpointConfiguration: { Types: ['REGIONAL'] },
      RegionalCertificateArn: CERTIFICATE,
      SecurityPolicy: 'TLS_1_2',
    });
    expect(getDomain(plain)).not.toHaveProperty('MutualTlsAuthentication');
    expect(getDomain(plain)).not.toHaveProperty('EndpointAccessMode');
    expect(plain.Resources['ApiDomainMapping']?.Properties).toEqual({
      DomainName: { Ref: 'ApiDomain' },
      RestApiId: { Ref: 'ApiGatewayRestApi' },
      Stage: { Ref: 'ApiGatewayStage' },
    });
    expect(Object(plain.Outputs?.['DomainBaseUrl']).Value).toBe('https://api.example.com/v1');
    expect(Object(plain.Outputs?.['DomainTarget']).Value).toEqual({
      'Fn::GetAtt': ['ApiDomain', 'RegionalDomainName'],
    });
    expect(getApi(plain)).toMatchObject({ DisableExecuteApiEndpoint: false });
  });

  it('mutual TLS disables the default endpoint, which asks for no certificate', () => {
    expect(getDomain(mutual)).toMatchObject({ MutualTlsAuthentication: { TruststoreUri: TRUSTSTORE } });
    expect(getApi(mutual)).toMatchObject({ DisableExecuteApiEndpoint: true });
  });

  it('an enhanced TLS policy applies to the domain and to the API, whose policy encrypts requests to the domain', () => {
    const policy = { SecurityPolicy: 'SecurityPolicy_TLS13_1_3_2025_09', EndpointAccessMode: 'BASIC' };
    expect(getDomain(enhanced)).toMatchObject(policy);
    expect(getApi(enhanced)).toMatchObject(policy);
  });

  it.each([
    [{ domainName: 'api.example.com' }, 'domainName and domainCertificate must be set together'],
    [{ domainCertificate: CERTIFICATE }, 'domainName and domainCertificate must be set together'],
    [{ domainTruststore: TRUSTSTORE }, 'domainTruststore must be set together with domainName'],
    [{ ...DOMAIN, region: 'us-east-1' }, "domainCertificate must be in the stage's region, us-east-1"],
    [
      { ...DOMAIN, domainTruststore: TRUSTSTORE, tlsPolicy: 'SecurityPolicy_TLS13_1_3_2025_09' },
      "domainTruststore can't be used with tlsPolicy=SecurityPolicy_TLS13_1_3_2025_09",
    ],
    [{ ...DOMAIN, domainName: 'https://api.example.com' }, 'but must be a host name such as api.example.com'],
    [{ ...DOMAIN, domainName: 'localhost' }, 'but must be a host name such as api.example.com'],
    [{ ...DOMAIN, domainCertificate: 'certificate' }, 'but must be the ARN of a certificate of ACM'],
    [{ ...DOMAIN, domainTruststore: 's3://my-ca' }, 'but must be a file of a bucket'],
  ])('the settings %j are rejected', (settings, message) => {
    expect(() => makeSettings(settings)).toThrow(message);
  });
});
