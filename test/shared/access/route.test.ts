import { afterEach, describe, expect, it, vi } from 'vitest';
import { type AuthorizedCaller, toAuthorizerContext } from '../../../shared/access/authorizer-context.ts';
import { joinPolicy } from '../../../shared/access/policy-json.ts';
import { authorizePrincipals } from '../../../shared/access/route.ts';
import { createHttpPipeline } from '../../../shared/lambda/http-pipeline.ts';
import { httpStatusFor } from '../../../shared/wire/error-responses.ts';
import { callHttp, makeHttpEvent, stubStreamingGlobals } from '../../functions/concurrency.ts';
import { getHandler, makeContext } from '../../functions/test-environment.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';

afterEach(() => vi.unstubAllGlobals());

const CALLER: AuthorizedCaller = { tenant: 'acme', keyId: 'key-1', scopes: ['inference', 'models'] };

/** Sends a request with the authorizer's context of a caller. Returns the line that is recorded of it. */
async function call(context: unknown, route = 'GET /v1/models') {
  stubStreamingGlobals();
  const telemetry = recordTelemetry();
  const handler = createHttpPipeline({
    routes: { [route]: { run: async () => ({ json: {} }) } },
    authorization: authorizePrincipals({ 'GET /v1/models': 'models.read', 'POST /v1/responses': 'generate' }),
    telemetry: { metrics: telemetry.metrics, forRequest: () => telemetry },
    format: {
      errorResponse: (error) => ({ status: httpStatusFor(error), headers: {}, json: {} }),
      errorFrame: ({ code }) => code,
      keepAliveFrame: ': ping\n\n',
      responseHeaders: () => ({}),
      exposedHeaders: '',
    },
  });
  const event = makeHttpEvent({ requestId: 'request', route, body: {} });
  const requestContext = { requestId: 'request', authorizer: context, identity: { sourceIp: '198.51.100.7' } };
  await callHttp(getHandler({ handler }), { ...event, requestContext }, makeContext());
  return telemetry.lines.find(({ record }) => record === 'call');
}

describe('the record of a refused call', () => {
  const only = (restrictions: object) => joinPolicy({ key: JSON.stringify(restrictions) });
  const forProject = (restrictions: object) => joinPolicy({ project: JSON.stringify(restrictions) });
  it.each<[string, Partial<AuthorizedCaller>, number]>([
    ['insufficient_permissions', { scopes: [] }, 403],
    ['insufficient_permissions', { policy: forProject({ readOnly: true }) }, 403],
    ['ip_not_authorized', { policy: only({ ipRanges: ['192.0.2.0/24'] }) }, 401],
    ['certificate_not_authorized', { policy: forProject({ certificates: ['cert'] }) }, 401],
    ['project_archived', { archived: true }, 403],
    ['key_held', { heldUntil: 1_900_000_000 }, 403],
    ['invalid_api_key', { expiresAt: 1_000 }, 401],
  ])('says whose key was refused with %s, and from where it was used: %j', async (errorCode, restricted, status) => {
    const line = await call(toAuthorizerContext({ ...CALLER, ...restricted }), 'POST /v1/responses');
    expect(line).toMatchObject({ errorCode, status, tenant: 'acme', keyId: 'key-1', network: '198.51.100.0/24' });
  });

  it('says that the key has expired, because a request without a key is refused with the same error', async () => {
    expect(await call(toAuthorizerContext({ ...CALLER, scopes: [], expiresAt: 1_000 }))).toMatchObject({
      errorCode: 'invalid_api_key',
      reason: 'expired',
    });
    const later = Math.ceil(Date.now() / 1000) + 600;
    const line = await call(toAuthorizerContext({ ...CALLER, scopes: [], expiresAt: later }));
    expect(line).toMatchObject({ errorCode: 'insufficient_permissions' });
    expect(line).not.toHaveProperty('reason');
  });

  it.each([undefined, { tenant: 1, keyId: {} }])('has no caller if the authorizer names none: %j', async (context) => {
    const line = await call(context);
    expect(line).toMatchObject({ errorCode: 'invalid_api_key', network: '198.51.100.0/24' });
    expect(line).not.toHaveProperty('tenant');
  });
});
