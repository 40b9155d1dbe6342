import { describe, expect, it } from 'vitest';
import { until, useCleanup } from '../runners.ts';
import { routeOf, testGateway } from './gateways.ts';

useCleanup();

async function closed(options: Parameters<typeof testGateway>[0] = {}) {
  const { gateway, runner } = await testGateway(options);
  const ask = (key: string | undefined, method = 'POST') =>
    fetch(`${gateway.url}/closed`, { method, headers: key === undefined ? {} : { authorization: `Bearer ${key}` } });
  const contextOf = async (key: string) => Object(await (await ask(key)).json()).requestContext.authorizer;
  return { ask, contextOf, runner };
}

const authorizer = { function: 'authorizer', identityHeaders: ['authorization'], ttlMs: 0 };

describe('an authorizer', () => {
  it('hands its context to the function, all of it as strings', async () => {
    const { contextOf } = await closed();
    expect(await contextOf('good')).toEqual({
      principalId: 'user',
      tenant: 'acme',
      calls: '1',
      flag: 'true',
      integrationLatency: expect.any(Number),
    });
  });

  it('is asked once for a key, and again for another', async () => {
    const { contextOf } = await closed();
    const calls: string[] = [];
    for (const key of ['good', 'good', 'good2', 'good', 'good2']) calls.push((await contextOf(key)).calls);
    expect(calls).toEqual(['1', '1', '2', '1', '2']);
  });

  it('is asked once by callers that come at once', async () => {
    const { contextOf, runner } = await closed();
    const contexts = await Promise.all(Array.from({ length: 5 }, () => contextOf('good')));
    expect(contexts.map(({ calls }) => calls)).toEqual(['1', '1', '1', '1', '1']);
    expect(runner.processes().filter((each) => each.function === 'authorizer')).toHaveLength(1);
  });

  it('is asked again when its answer is too old', async () => {
    const routes = [routeOf('POST', '/closed', { authorizer: { ...authorizer, ttlMs: 2_000 } })];
    const { contextOf } = await closed({ routes });
    await contextOf('good2');
    expect([(await contextOf('good')).calls, (await contextOf('good')).calls]).toEqual(['2', '2']);
    await until(async () => (await contextOf('good')).calls === '3');
  });

  it('is asked each time when nothing may be kept', async () => {
    const { contextOf } = await closed({ routes: [routeOf('POST', '/closed', { authorizer })] });
    expect([(await contextOf('good')).calls, (await contextOf('good')).calls]).toEqual(['1', '2']);
  });

  it('is not asked without its identity header', async () => {
    const { ask, runner } = await closed();
    expect([(await ask(undefined)).status, runner.processes()]).toEqual([401, []]);
  });

  it.each([
    { key: 'bad', status: 403, type: 'AccessDeniedException' },
    { key: 'unauthorized', status: 401, type: 'UnauthorizedException' },
    { key: 'crash', status: 500, type: 'AuthorizerFailureException' },
    { key: 'nonsense', status: 500, type: 'AuthorizerConfigurationException' },
  ])('that answers $key keeps the function from being called', async ({ key, status, type }) => {
    const { ask, runner } = await closed();
    const answer = await ask(key);
    expect([answer.status, answer.headers.get('x-amzn-errortype')]).toEqual([status, type]);
    expect(runner.processes().map((each) => each.function)).toEqual(['authorizer']);
  });

  it('may allow some methods only, also from the cache', async () => {
    const { ask } = await closed();
    expect((await ask('good-get-only', 'GET')).status).toBe(200);
    expect((await ask('good-get-only', 'POST')).status).toBe(403);
  });
});
