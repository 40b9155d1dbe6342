import { type Gateway, type GatewayOptions, startGateway } from '../../../local/gateway/gateway.ts';
import type { FunctionRoute } from '../../../local/gateway/routes.ts';
import { closeAfterwards, startTestRunner, type TestRunner } from '../runners.ts';

const AUTHORIZER = { function: 'authorizer', identityHeaders: ['authorization'], ttlMs: 30_000 };

/** Returns a route to the buffered function `echo`, with the given changes. */
export function createRoute(method: string, resource: string, changes: Partial<FunctionRoute> = {}): FunctionRoute {
  const route = { function: 'echo', streamed: false, timeoutMs: 20_000, authorizer: undefined };
  return { kind: 'function', method, resource, ...route, ...changes };
}

/** Buffered routes at `/open` and `/closed`, and a streamed route at `/stream`. `/closed` has an authorizer. */
export const ROUTES: readonly FunctionRoute[] = [
  createRoute('ANY', '/open'),
  createRoute('ANY', '/open/{proxy+}'),
  createRoute('POST', '/closed', { authorizer: AUTHORIZER }),
  createRoute('GET', '/closed', { authorizer: AUTHORIZER }),
  createRoute('POST', '/stream', { function: 'stream', streamed: true }),
];

/** Starts a gateway with `ROUTES` in front of a test runner. */
export async function startTestGateway(
  options: Partial<GatewayOptions> = {},
  runnerOptions: Parameters<typeof startTestRunner>[0] = {},
): Promise<{ gateway: Gateway; runner: TestRunner }> {
  const runner = await startTestRunner(runnerOptions);
  const gateway = await startGateway({
    port: 0,
    api: { apiId: 'local', stage: 'test', region: 'eu-west-1', binaryMediaTypes: [] },
    routes: ROUTES,
    responses: [],
    runner,
    ...options,
  });
  return { gateway: closeAfterwards(gateway), runner };
}
