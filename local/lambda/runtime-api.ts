import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { listen } from '../listen.ts';
import type { Environment } from './environment.ts';

export interface RuntimeApi {
  /** `127.0.0.1:port`. */
  readonly address: string;
  close(): Promise<void>;
}

/**
 * Serves the Lambda Runtime API to all environments. A path begins with the environment's id, which is its secret:
 * `/{environment}/2018-06-01/runtime/invocation/next`.
 * @param find returns the environment with an id
 * @see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 */
export async function startRuntimeApi(find: (environmentId: string) => Environment | undefined): Promise<RuntimeApi> {
  // No timeouts, because a runtime may wait for an invocation, or stream a response, for any time.
  const server = createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 }, (request, response) => {
    response.sendDate = false;
    const [, environmentId = '', , , ...call] = (request.url ?? '').split('/');
    const environment = find(environmentId);
    if (environment === undefined) acknowledge(response, 403);
    else serve(environment, call, request, response);
  });
  const { port, close } = await listen(server, { port: 0 });
  return { address: `127.0.0.1:${port}`, close };
}

function serve(environment: Environment, call: string[], request: IncomingMessage, response: ServerResponse): void {
  const [kind, id = '', action] = call;
  const done = (status: number): void => acknowledge(response, status);
  const operation = `${request.method} ${kind}/${action ?? id}`;
  if (operation === 'GET invocation/next') environment.onPoll(response);
  else if (operation === 'POST invocation/response') environment.onResponse(id, request, done);
  else if (operation === 'POST invocation/error') ignoreFailure(environment.onError(id, request, done));
  else if (operation === 'POST init/error') ignoreFailure(environment.onInitError(request, done));
  else done(404);
}

function acknowledge(response: ServerResponse, status: number): void {
  if (!response.destroyed) response.writeHead(status, { 'Content-Length': 0 }).end();
}

/** Ignores the failure of a report: it breaks off only when its process ends, which the environment notices itself. */
function ignoreFailure(report: Promise<void>): void {
  report.catch(() => undefined);
}
