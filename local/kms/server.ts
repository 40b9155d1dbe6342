import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { listen } from '../listen.ts';
import { KmsFault } from './fault.ts';
import { Keyring } from './keyring.ts';
import { type Operation, operations } from './operations.ts';

export interface KmsStandIn {
  /** For `AWS_ENDPOINT_URL_KMS`. */
  readonly url: string;
  close(): Promise<void>;
}

export interface KmsOptions {
  /** Where the keys are kept, readable by their owner alone. Without it, nothing sealed before can be opened. */
  readonly stateFile: string;
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

/**
 * Starts a stand-in for AWS KMS on 127.0.0.1: symmetric keys, KMS's JSON 1.1 protocol, its exceptions, and its promise
 * that a blob opens only under the encryption context that it was made with.
 * @throws Error when the port is taken or the state file can't be read
 */
export async function startKms({ stateFile, port = 0, now = Date.now }: KmsOptions): Promise<KmsStandIn> {
  const known = operations(new Keyring(stateFile, now), now);
  const server = createServer((request, response) => {
    answer(request, response, known).catch(() => response.destroy());
  });
  const listening = await listen(server, { port });
  return { url: `http://127.0.0.1:${listening.port}`, close: listening.close };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  known: Readonly<Record<string, Operation>>,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk));
  const name = String(request.headers['x-amz-target'] ?? '').replace(/^TrentService\./, '');
  try {
    const run = Object.hasOwn(known, name) ? known[name] : undefined;
    if (!run) throw new KmsFault('UnknownOperationException', `This stand-in has no ${name || 'such operation'}`);
    send(response, 200, run(parsed(Buffer.concat(chunks).toString('utf8'))) ?? {});
  } catch (thrown) {
    if (thrown instanceof KmsFault) send(response, 400, { __type: thrown.name, message: thrown.message });
    // The state file could not be written: nothing was kept, and the caller may try again.
    else send(response, 500, { __type: 'KMSInternalException', message: String(thrown) });
  }
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json || '{}');
  } catch {
    throw new KmsFault('ValidationException', 'The request body is not valid JSON.');
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' });
  response.end(JSON.stringify(body));
}
