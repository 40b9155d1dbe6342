import {
  Agent,
  type ClientRequest,
  get,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type RequestOptions,
  request,
} from 'node:http';
import { toErrorReport } from './errors.ts';
import { requireVariable } from './variables.ts';

const api = new URL(`http://${requireVariable('AWS_LAMBDA_RUNTIME_API')}/2018-06-01/runtime/`);
// Responses have connections of their own, so that the next poll doesn't wait until the last response is acknowledged.
const polls = new Agent({ keepAlive: true });
const answers = new Agent({ keepAlive: true });

/** An invocation, as the runner hands it out. */
export interface Work {
  readonly headers: IncomingHttpHeaders;
  /** JSON. */
  readonly payload: string;
}

/**
 * Waits for the next invocation. If the connection is closed, the process exits, because it is useless without a
 * runner.
 * @returns undefined when the runner asks to poll again, as it does to find out whether the process still responds
 */
export function pollNext(): Promise<Work | undefined> {
  return new Promise((resolve, reject) => {
    const poll = get(toOptions('invocation/next', { agent: polls }), (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 204) return resolve(undefined);
        const [first] = chunks;
        const body = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
        resolve({ headers: response.headers, payload: body.toString('utf8') });
      });
    });
    poll.on('error', exit);
    poll.on('socket', (socket) => {
      if (!socket.listeners('close').includes(exit)) socket.on('close', exit);
    });
  });
}

function exit(): void {
  process.exit(0);
}

/** Opens the request that carries an invocation's response. The runner's acknowledgement is read and dropped. */
export function openAnswer(requestId: string, headers: OutgoingHttpHeaders): ClientRequest {
  const options = toOptions(`invocation/${requestId}/response`, { agent: answers, method: 'POST', headers });
  return request(options, (response) => response.resume());
}

/**
 * Reports an error to the runner, and resolves when the runner has it.
 * @param path `init/error`, or `invocation/{id}/error`
 */
export function postError(path: string, error: unknown): Promise<void> {
  const report = toErrorReport(error);
  const body = JSON.stringify(report);
  const headers = {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    'Lambda-Runtime-Function-Error-Type': report.errorType,
  };
  return new Promise((resolve, reject) => {
    const post = request(toOptions(path, { agent: answers, method: 'POST', headers }), (response) => {
      response.resume();
      response.on('end', resolve);
    });
    post.on('error', reject);
    post.end(body);
  });
}

function toOptions(path: string, options: RequestOptions): RequestOptions {
  return { host: api.hostname, port: api.port, path: api.pathname + path, ...options };
}
