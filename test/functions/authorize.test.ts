import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import type { APIGatewayAuthorizerResult } from 'aws-lambda';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { fingerprintRule } from '../../shared/access/federation/federated-rules.ts';
import { createIssuerAdministration } from '../../shared/access/federation/issuer-administration.ts';
import type { FederationRule } from '../../shared/access/federation/issuers.ts';
import { createKeyItem } from '../../shared/access/keys.ts';
import { createPolicyAdministration } from '../../shared/access/policy-administration.ts';
import { encodeRestrictions } from '../../shared/access/policy-schema.ts';
import { createTenantKeyTable } from '../../shared/vault/key-table.ts';
import { type OidcIssuer, startOidcIssuer } from '../upstreams/oidc-issuer.ts';
import { makeKeyItem } from './concurrency.ts';
import {
  getHandler,
  type Handler,
  makeContext,
  startTestEnvironment,
  type TestEnvironment,
} from './test-environment.ts';

let testEnvironment: TestEnvironment;
let authorize: Handler;
/** A key of the tenant `acme`. */
const KEY = 'Bearer sk-acme';

beforeAll(async () => {
  testEnvironment = await startTestEnvironment();
  const { dynamodb } = testEnvironment.services;
  await dynamodb.send(new PutItemCommand({ TableName: 'access', Item: makeKeyItem('acme', ['generate']) }));
  for (const [name, value] of Object.entries(testEnvironment.variables)) vi.stubEnv(name, value);
  vi.stubEnv('LOG_LEVEL', 'info');
  vi.stubEnv('LOOPBACK_ISSUERS', 'allowed');
  authorize = await import('../../functions/authorize.ts').then(getHandler);
});
/** The log. */
const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
afterAll(async () => {
  write.mockRestore();
  vi.unstubAllEnvs();
  await testEnvironment[Symbol.asyncDispose]();
});

/** Calls the authorizer with headers in their order, as API Gateway passes them on. */
async function decide(...fields: readonly (readonly [name: string, value: string])[]): Promise<string> {
  return decideOn('/v1/responses', ...fields);
}

async function decideOn(
  resource: string,
  ...fields: readonly (readonly [name: string, value: string])[]
): Promise<string> {
  const multiValueHeaders: Record<string, string[]> = {};
  for (const [name, value] of fields) multiValueHeaders[name] = [...(multiValueHeaders[name] ?? []), value];
  const event = {
    type: 'REQUEST',
    resource,
    methodArn: 'arn:aws:execute-api:eu-west-1:000000000000:api/test/GET/v1/models',
    headers: Object.fromEntries(fields),
    multiValueHeaders,
    requestContext: { requestId: 'call' },
  };
  try {
    const { principalId, policyDocument } = (await authorize(event, makeContext())) as APIGatewayAuthorizerResult;
    return `${policyDocument.Statement[0]?.Effect} ${principalId}`;
  } catch (thrown) {
    return `not cached: ${thrown instanceof Error ? thrown.message : ''}`;
  }
}

/** Returns the lines of the log since it was last cleared. */
const readLines = (): unknown[] => write.mock.calls.map(([line]) => JSON.parse(String(line)));

const ALLOWED = expect.stringMatching(/^Allow acme:/);
const DENIED = 'Deny nobody';
const UNCACHED = 'not cached: Unauthorized';

it.each(['Authorization', 'authorization', 'AUTHORIZATION', 'aUTHORIZATION'])(
  'the authorizer finds the key in a header that is spelled %s',
  async (name) => {
    expect(await decide([name, KEY])).toEqual(ALLOWED);
  },
);

it('the authorizer allows a request that repeats one key', async () => {
  expect(await decide(['Authorization', KEY], ['authorization', KEY], ['authorization', KEY])).toEqual(ALLOWED);
});

it.each<[string, readonly (readonly [string, string])[]]>([
  [
    'before the key, in another spelling',
    [
      ['authorization', 'Bearer undefined'],
      ['Authorization', KEY],
    ],
  ],
  [
    'after the key, in another spelling',
    [
      ['Authorization', KEY],
      ['authorization', 'Bearer undefined'],
    ],
  ],
  [
    'before the key, in the same spelling',
    [
      ['Authorization', 'Bearer undefined'],
      ['Authorization', KEY],
    ],
  ],
  [
    'after the key, of another scheme',
    [
      ['Authorization', KEY],
      ['Authorization', 'Basic c2s6'],
    ],
  ],
])('the authorizer denies a request with a second value %s, and lets no cache remember that', async (_, fields) => {
  expect(await decide(...fields)).toBe(UNCACHED);
});

it('the authorizer denies a new key of an erased tenant', async () => {
  const { dynamodb } = testEnvironment.services;
  await dynamodb.send(new PutItemCommand({ TableName: 'access', Item: makeKeyItem('erased', ['generate']) }));
  expect(await decide(['Authorization', 'Bearer sk-erased'])).toEqual(expect.stringMatching(/^Allow erased:/));
  const tenantKeys = createTenantKeyTable(dynamodb, testEnvironment.variables['KEYS_TABLE'] ?? '');
  await tenantKeys.markErased({ tenant: 'erased', deletedAt: Date.now() });
  expect(await decide(['Authorization', 'Bearer sk-erased'])).toBe(DENIED);
  const expired = { tenant: 'erased', keyId: 'expired-key', scopes: ['generate'], expiresAt: 1_000 };
  const Item = createKeyItem('sk-erased-2', expired);
  await dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
  expect(await decide(['Authorization', 'Bearer sk-erased-2'])).toBe(DENIED);
});

describe('what restricts a key', () => {
  const models = { mode: 'deny' as const, models: ['large'] };

  /** Returns the context that the authorizer passes on for the key `sk-<tenant>`. */
  async function readContext(tenant: string): Promise<APIGatewayAuthorizerResult['context']> {
    const event = {
      type: 'REQUEST',
      resource: '/v1/responses',
      methodArn: 'arn:aws:execute-api:eu-west-1:000000000000:api/test/POST/v1/responses',
      headers: { authorization: `Bearer sk-${tenant}` },
    };
    return ((await authorize(event, makeContext())) as APIGatewayAuthorizerResult).context;
  }

  it('the authorizer passes on the restrictions of the account, the project and the key', async () => {
    const { dynamodb } = testEnvironment.services;
    const administration = createPolicyAdministration(dynamodb, 'access');
    const policy = encodeRestrictions('key', { models });
    const Item = createKeyItem('sk-bound', { tenant: 'bound', keyId: 'bound-key', scopes: ['generate'], policy });
    await dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
    expect(await readContext('bound')).toEqual({
      ...{ tenant: 'bound', keyId: 'bound-key', scopes: 'generate' },
      policy: JSON.stringify({ key: { models } }),
    });
    await administration.changeProject('bound', (project) => ({ ...project, restrictions: { models } }));
    await administration.changeAccount(() => ({ models }));
    expect(JSON.parse(String((await readContext('bound'))?.['policy']))).toEqual({
      account: { models },
      project: { models },
      key: { models },
    });
    await administration.changeAccount(() => ({}));
  });

  it('the authorizer passes on no policy for a key that nothing restricts', async () => {
    expect(await readContext('acme')).toEqual({ tenant: 'acme', keyId: 'acme-key', scopes: 'generate' });
  });

  it('the authorizer passes on whose key has expired, without its scopes, and counts it as refused', async () => {
    const record = { tenant: 'late', keyId: 'late-key', scopes: ['generate'], expiresAt: 1_000 };
    const Item = createKeyItem('sk-late', record);
    await testEnvironment.services.dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
    write.mockClear();
    expect(await readContext('late')).toEqual({ tenant: 'late', keyId: 'late-key', scopes: '', expiresAt: '1000' });
    const text = write.mock.calls.map(([line]) => String(line)).join('');
    expect(text).toContain('"reason":"expired key"');
    expect(text).toContain('"KeysRefused":1');
    // It is too late to report that it expires soon.
    expect(text).not.toContain('api_key.expiring');
  });

  it('the authorizer passes on that the project of a key is archived', async () => {
    const { dynamodb } = testEnvironment.services;
    await dynamodb.send(new PutItemCommand({ TableName: 'access', Item: makeKeyItem('closed', ['generate']) }));
    await createPolicyAdministration(dynamodb, 'access').changeProject('closed', (project) => ({
      ...project,
      status: 'archived',
    }));
    expect(await readContext('closed')).toEqual({
      ...{ tenant: 'closed', keyId: 'closed-key', scopes: '' },
      archived: 'true',
    });
  });
});

describe('a token of a trusted issuer', () => {
  const rule = (tenant: string): FederationRule => ({
    id: 'rule-1',
    tenant,
    serviceAccount: 'svc-1',
    matchers: { sub: tenant },
    scopes: ['generate', 'models.read'],
  });
  let issuer: OidcIssuer;
  const issuers = () => createIssuerAdministration({ client: testEnvironment.services.dynamodb, name: 'access' });
  const name = () => ({ providerId: 'provider-1', issuer: issuer.url, audience: 'lambent' });
  const trust = (enabled: boolean) => {
    const keys = { discoveryUrl: `${issuer.url}/.well-known/openid-configuration` };
    return issuers().apply(name(), async () => ({ ...name(), enabled, keys, attributes: {} }));
  };
  const replaceRule = (id: string, rules: readonly FederationRule[]) =>
    issuers().replaceRules(name(), [id], async () => rules);
  const setRule = (changed: FederationRule) => replaceRule(changed.id, [changed]);
  const sign = (sub: string, claims = {}) => issuer.sign({ sub, aud: 'lambent', ...claims });

  beforeAll(async () => {
    issuer = await startOidcIssuer();
    await trust(true);
  });
  afterAll(() => issuer[Symbol.asyncDispose]());

  async function readContext(
    credential: string,
    requestId = 'call',
  ): Promise<APIGatewayAuthorizerResult['context'] | 'denied'> {
    const requestContext = { requestId };
    const headers = { authorization: `Bearer ${credential}` };
    const methodArn = 'arn:aws:execute-api:eu-west-1:000000000000:api/test/POST/v1/responses';
    const event = { type: 'REQUEST', resource: '/v1/responses', methodArn, headers, requestContext };
    const { policyDocument, context } = (await authorize(event, makeContext())) as APIGatewayAuthorizerResult;
    return policyDocument.Statement[0]?.Effect === 'Allow' ? context : 'denied';
  }

  it('a key with two dots is a key, unless its first part is the header of a token', async () => {
    const identity = { tenant: 'acme', keyId: 'dots', scopes: ['generate'] as const, policy: undefined };
    const header = Buffer.from('{"alg":"none"}').toString('base64url');
    for (const key of ['team.service.prod', 'eyJ.eyJ.x', `${header}.e30.x`]) {
      const put = new PutItemCommand({ TableName: 'access', Item: createKeyItem(key, identity) });
      await testEnvironment.services.dynamodb.send(put);
    }
    expect(await readContext('team.service.prod')).toMatchObject({ keyId: 'dots' });
    expect(await readContext('eyJ.eyJ.x')).toMatchObject({ keyId: 'dots' });
    expect(await readContext(`${header}.e30.x`)).toBe('denied');
  });

  it('a token gets the scopes of its rule, and the functions refuse it 30 s after it expires', async () => {
    await setRule(rule('tokens'));
    const exp = Math.floor(Date.now() / 1000) + 60;
    expect(await readContext(await sign('tokens', { exp }))).toEqual({
      tenant: 'tokens',
      keyId: 'svc-1',
      scopes: 'generate models.read',
      expiresAt: String(exp + 30),
    });
  });

  it('a token is restricted by the policy of its project, and archived with it', async () => {
    await setRule({ ...rule('bounded'), id: 'rule-2' });
    const administration = createPolicyAdministration(testEnvironment.services.dynamodb, 'access');
    const models = { mode: 'deny' as const, models: ['large'] };
    await administration.changeProject('bounded', (project) => ({ ...project, restrictions: { models } }));
    const token = await sign('bounded');
    expect(await readContext(token)).toMatchObject({ policy: JSON.stringify({ project: { models } }) });
    await administration.changeProject('bounded', (project) => ({ ...project, status: 'archived' }));
    expect(await readContext(token)).toMatchObject({ scopes: '', archived: 'true' });
  });

  it('a token for an erased tenant is denied', async () => {
    await setRule({ ...rule('gone'), id: 'rule-3' });
    const token = await sign('gone');
    expect(await readContext(token)).toMatchObject({ tenant: 'gone' });
    const { dynamodb } = testEnvironment.services;
    const tenantKeys = createTenantKeyTable(dynamodb, testEnvironment.variables['KEYS_TABLE'] ?? '');
    await tenantKeys.markErased({ tenant: 'gone', deletedAt: Date.now() });
    expect(await readContext(token)).toBe('denied');
  });

  it('a token is denied as soon as its rule is removed, or its provider is switched off', async () => {
    await setRule({ ...rule('brief'), id: 'rule-4' });
    const token = await sign('brief');
    expect(await readContext(token)).toMatchObject({ tenant: 'brief' });
    await trust(false);
    expect(await readContext(token)).toBe('denied');
    await trust(true);
    expect(await readContext(token)).toMatchObject({ tenant: 'brief' });
    await replaceRule('rule-4', []);
    expect(await readContext(token)).toBe('denied');
  });

  it('an access token has only the scopes that the rules by which it was issued still grant', async () => {
    const own = { ...rule('issued'), id: 'rule-5' };
    await setRule(own);
    const federated = { issuer: issuer.url, audience: 'lambent', rules: [fingerprintRule(own)] };
    const record = { tenant: 'issued', keyId: 'svc-1', scopes: ['generate'], federated };
    await testEnvironment.services.dynamodb.send(
      new PutItemCommand({ TableName: 'access', Item: createKeyItem('sk-token-1', record) }),
    );
    expect(await readContext('sk-token-1')).toMatchObject({ tenant: 'issued', scopes: 'generate' });
    await setRule({ ...own, scopes: ['generate', 'embeddings'] });
    expect(await readContext('sk-token-1')).toMatchObject({ scopes: 'generate' });
    await setRule({ ...own, scopes: ['embeddings'] });
    expect(await readContext('sk-token-1')).toBe('denied');
    await setRule({ ...own, matchers: { sub: 'other' } });
    expect(await readContext('sk-token-1')).toBe('denied');
    await setRule(own);
    expect(await readContext('sk-token-1')).toMatchObject({ scopes: 'generate' });
    await replaceRule(own.id, []);
    expect(await readContext('sk-token-1')).toBe('denied');
  });

  it('the log says why a token was refused, and has no token', async () => {
    write.mockClear();
    const token = await sign('unknown');
    expect(await readContext(token)).toBe('denied');
    const text = write.mock.calls.map(([line]) => String(line)).join('');
    expect(text).toContain('"reason":"no rule for the token"');
    expect(text).toContain('"reason":"unknown key"');
    expect(text).not.toContain(token.split('.')[2]);
  });

  it('what the log says of a token has the id of the call', async () => {
    await setRule({ ...rule('logged'), id: 'rule-6' });
    write.mockClear();
    await readContext(await sign('logged'), 'call-1');
    await readContext(await sign('unknown'), 'call-2');
    expect(readLines()).toMatchObject([
      { message: 'token accepted', tenant: 'logged', requestId: 'call-1' },
      { message: 'token refused', requestId: 'call-2' },
      { message: 'denied', requestId: 'call-2' },
      { KeysRefused: 1 },
    ]);
  });
});

it.each(['/v1/responses', '/v1/messages'])(
  'a key that expires soon is reported with the id of the call: %s',
  async (resource) => {
    const record = {
      tenant: 'soon',
      keyId: 'soon-key',
      scopes: ['generate'],
      expiresAt: Math.floor(Date.now() / 1000) + 60,
    };
    const Item = createKeyItem(`sk-soon-${resource}`, record);
    await testEnvironment.services.dynamodb.send(new PutItemCommand({ TableName: 'access', Item }));
    write.mockClear();
    expect(await decideOn(resource, ['Authorization', `Bearer sk-soon-${resource}`])).toBe('Allow soon:soon-key');
    const act = { record: 'act', act: 'api_key.expiring', objectId: 'soon-key', requestId: 'call' };
    expect(readLines()).toMatchObject([act, { KeysExpiring: 1 }]);
  },
);

it('the id of an invocation stands for that of the call where the event has none', async () => {
  write.mockClear();
  const headers = { authorization: 'Bearer sk-unknown' };
  const methodArn = 'arn:aws:execute-api:eu-west-1:000000000000:api/test/GET/v1/models';
  await authorize({ type: 'REQUEST', resource: '/v1/models', methodArn, headers }, makeContext(60_000, 'invocation'));
  expect(readLines()).toMatchObject([{ message: 'denied', requestId: 'invocation' }, { KeysRefused: 1 }]);
});

it('refused keys are counted, and requests without a key are not', async () => {
  const countRefusals = async (...fields: readonly (readonly [name: string, value: string])[]) => {
    write.mockClear();
    await decide(...fields);
    return write.mock.calls.filter(([line]) => String(line).includes('"KeysRefused":1')).length;
  };
  expect(await countRefusals(['Authorization', 'Bearer sk-unknown'])).toBe(1);
  expect(await countRefusals(['Authorization', 'Bearer sk-a'], ['Authorization', 'Bearer sk-b'])).toBe(1);
  expect(await countRefusals(['Authorization', KEY])).toBe(0);
  expect(await countRefusals(['Authorization', 'Basic eA=='])).toBe(0);
});

it('the authorizer denies a request with many values without looking them up', async () => {
  const fields = Array.from({ length: 5 }, (_, index) => ['Authorization', `Bearer sk-${index}`] as const);
  expect(await decide(...fields)).toBe(UNCACHED);
  // Four are looked up, and none is a key.
  expect(await decide(...fields.slice(1))).toBe(DENIED);
});

it.each<readonly (readonly [string, string])[]>([
  [['Authorization', 'Bearer sk-unknown']],
  [
    ['Authorization', 'Bearer sk-unknown'],
    ['authorization', 'Bearer undefined'],
  ],
  [['Authorization', 'Basic c2s6']],
  [],
])('the authorizer denies a request without a known key', async (...fields) => {
  expect(await decide(...fields)).toBe(DENIED);
});

describe('the header x-api-key', () => {
  const key = KEY.replace('Bearer ', '');

  it.each(['/v1/messages', '/v1/messages/count_tokens', '/v1/models', '/v1/models/{id+}'])(
    'the authorizer finds the key in x-api-key for %s',
    async (resource) => {
      expect(await decideOn(resource, ['X-Api-Key', key])).toEqual(ALLOWED);
      expect(await decideOn(resource, ['x-api-key', key], ['Authorization', KEY])).toEqual(ALLOWED);
      expect(await decideOn(resource, ['Authorization', KEY])).toEqual(ALLOWED);
      expect(await decideOn(resource, ['x-api-key', 'sk-other'])).toBe(DENIED);
    },
  );

  it('the authorizer ignores x-api-key where its policy is cached under the Authorization header', async () => {
    expect(await decideOn('/v1/responses', ['x-api-key', key])).toBe(DENIED);
    expect(await decideOn('/v1/responses', ['x-api-key', key], ['Authorization', 'Bearer sk-other'])).toBe(DENIED);
    expect(await decideOn('/v1/messagesx', ['x-api-key', key])).toBe(DENIED);
  });

  it('the authorizer refuses a request with two different keys', async () => {
    expect(await decideOn('/v1/messages', ['x-api-key', key], ['Authorization', 'Bearer sk-other'])).toBe(UNCACHED);
  });
});

it.each<[string, readonly (readonly [string, string])[]]>([
  ['unknown key', [['Authorization', 'Bearer sk-unknown']]],
  ['no key', [['Authorization', 'Basic c2s6']]],
  [
    'more than one key',
    [
      ['Authorization', 'Bearer sk-unknown'],
      ['authorization', 'Bearer sk-other'],
    ],
  ],
])('the authorizer logs a denial once, with its reason: %s', async (reason, fields) => {
  write.mockClear();
  await decide(...fields);
  const lines = write.mock.calls.map(([text]) => String(text)).filter((text) => text.includes('"denied"'));
  expect(lines.map((line) => JSON.parse(line).reason)).toEqual([reason]);
});
