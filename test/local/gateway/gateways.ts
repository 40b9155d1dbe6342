import { type Gateway, type GatewayOptions, startGateway } from '../../../local/gateway/gateway.ts';
import type { FunctionRoute } from '../../../local/gateway/routes.ts';
import { closeAfterwards, type TestRunner, testRunner } from '../runners.ts';

const AUTHORIZER = { function: 'authorizer', identityHeaders: ['authorization'], ttlMs: 30_000 };

export function routeOf(method: string, resource: string, changes: Partial<FunctionRoute> = {}): FunctionRoute {
  const route = { function: 'echo', streamed: false, timeoutMs: 20_000, authorizer: undefined };
  return { kind: 'function', method, resource, ...route, ...changes };
}

/** Routes whose functions buffer (`/open`, `/closed`) and stream (`/stream`). `/closed` has an authorizer. */
export const ROUTES: readonly FunctionRoute[] = [
  routeOf('ANY', '/open'),
  routeOf('ANY', '/open/{proxy+}'),
  routeOf('POST', '/closed', { authorizer: AUTHORIZER }),
  routeOf('GET', '/closed', { authorizer: AUTHORIZER }),
  routeOf('POST', '/stream', { function: 'stream', streamed: true }),
];

export async function testGateway(
  options: Partial<GatewayOptions> = {},
  runnerOptions: Parameters<typeof testRunner>[0] = {},
): Promise<{ gateway: Gateway; runner: TestRunner }> {
  const runner = await testRunner(runnerOptions);
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
