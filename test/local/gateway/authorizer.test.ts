import { describe, expect, it } from 'vitest';
import { until, useCleanup } from '../runners.ts';
import { createRoute, startTestGateway } from './gateways.ts';

useCleanup();

async function startWithAuthorizer(options: Parameters<typeof startTestGateway>[0] = {}) {
  const { gateway, runner } = await startTestGateway(options);
  const send = (key: string | undefined, method = 'POST') =>
    fetch(`${gateway.url}/closed`, { method, headers: key === undefined ? {} : { authorization: `Bearer ${key}` } });
  const getContext = async (key: string) => Object(await (await send(key)).json()).requestContext.authorizer;
  return { send, getContext, runner };
}

const authorizer = { function: 'authorizer', identityHeaders: ['authorization'], ttlMs: 0 };

describe('an authorizer', () => {
  it('an authorizer passes its context to the function, every value as a string', async () => {
    const { getContext } = await startWithAuthorizer();
    expect(await getContext('good')).toEqual({
      principalId: 'user',
      tenant: 'acme',
      calls: '1',
      flag: 'true',
      integrationLatency: expect.any(Number),
    });
  });

  it('an authorizer is invoked once for each API key', async () => {
    const { getContext } = await startWithAuthorizer();
    const calls: string[] = [];
    for (const key of ['good', 'good', 'good2', 'good', 'good2']) calls.push((await getContext(key)).calls);
    expect(calls).toEqual(['1', '1', '2', '1', '2']);
  });

  it('an authorizer is invoked once for concurrent requests with the same key', async () => {
    const { getContext, runner } = await startWithAuthorizer();
    const contexts = await Promise.all(Array.from({ length: 5 }, () => getContext('good')));
    expect(contexts.map(({ calls }) => calls)).toEqual(['1', '1', '1', '1', '1']);
    expect(runner.processes().filter((each) => each.function === 'authorizer')).toHaveLength(1);
  });

  it('an authorizer is invoked again when its cached policy has expired', async () => {
    const routes = [createRoute('POST', '/closed', { authorizer: { ...authorizer, ttlMs: 5_000 } })];
    const { getContext } = await startWithAuthorizer({ routes });
    await getContext('good2');
    expect([(await getContext('good')).calls, (await getContext('good')).calls]).toEqual(['2', '2']);
    await until(async () => (await getContext('good')).calls === '3');
  });

  it('an authorizer is invoked for each request if its policies may not be cached', async () => {
    const { getContext } = await startWithAuthorizer({ routes: [createRoute('POST', '/closed', { authorizer })] });
    expect([(await getContext('good')).calls, (await getContext('good')).calls]).toEqual(['1', '2']);
  });

  it('an authorizer is not invoked for a request without the identity header', async () => {
    const { send, runner } = await startWithAuthorizer();
    expect([(await send(undefined)).status, runner.processes()]).toEqual([401, []]);
  });

  it.each([
    { key: 'bad', status: 403, type: 'AccessDeniedException' },
    { key: 'unauthorized', status: 401, type: 'UnauthorizedException' },
    { key: 'crash', status: 500, type: 'AuthorizerFailureException' },
    { key: 'nonsense', status: 500, type: 'AuthorizerConfigurationException' },
  ])(
    'the function is not invoked after the authorizer’s answer for the key $key: $type',
    async ({ key, status, type }) => {
      const { send, runner } = await startWithAuthorizer();
      const answer = await send(key);
      expect([answer.status, answer.headers.get('x-amzn-errortype')]).toEqual([status, type]);
      expect(runner.processes().map((each) => each.function)).toEqual(['authorizer']);
    },
  );

  it('an authorizer can allow some methods only, even by a cached policy', async () => {
    const { send } = await startWithAuthorizer();
    expect((await send('good-get-only', 'GET')).status).toBe(200);
    expect((await send('good-get-only', 'POST')).status).toBe(403);
  });
});
