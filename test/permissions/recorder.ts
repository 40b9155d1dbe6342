import { createServer, request as send } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { listen } from '../../local/listen.ts';
import type { AwsRequest } from './aws-calls.ts';

/** Answers a service's request, or returns the URL of the stand-in that does. */
export type Answer = (request: AwsRequest) => object | URL;

export interface Recorder extends AsyncDisposable {
  /** The endpoint of every service. */
  readonly url: string;
}

/**
 * Starts an endpoint of several AWS services that reports each request before it is answered.
 * @param answers by the service's name in signatures
 * @param onRequest gets the request and the id of the invocation that sent it
 */
export async function startRecorder(
  answers: Readonly<Record<string, Answer>>,
  onRequest: (request: AwsRequest, invocation: string) => void,
): Promise<Recorder> {
  const server = createServer(async (incoming, outgoing) => {
    const { method = '', url: path = '', headers } = incoming;
    const body = await buffer(incoming);
    const request = { method, path, target: String(headers['x-amz-target'] ?? ''), body: String(body) };
    onRequest(request, readInvocation(String(headers['x-amzn-trace-id'] ?? '')));
    const [, service = ''] = /Credential=[^/]+\/\d+\/[\w-]+\/(\w+)\//.exec(headers.authorization ?? '') ?? [];
    const answer = answers[service]?.(request);
    if (answer instanceof URL) {
      const forwarded = send(new URL(path, answer), { method, headers }, (response) => {
        outgoing.writeHead(response.statusCode ?? 502, response.rawHeaders);
        response.pipe(outgoing);
      });
      forwarded.on('error', () => outgoing.destroy()).end(body);
    } else {
      outgoing.writeHead(answer === undefined ? 501 : 200, { 'content-type': 'application/json' });
      outgoing.end(JSON.stringify(answer ?? { message: `There is no stand-in for ${service}` }));
    }
  });
  const listening = await listen(server, { port: 0 });
  return { url: `http://127.0.0.1:${listening.port}`, [Symbol.asyncDispose]: () => listening.close() };
}

/** Returns the id of the invocation in the SDK's trace header. */
function readInvocation(traceHeader: string): string {
  return /^Root=1-([^;]+)/.exec(traceHeader)?.[1] ?? '';
}
