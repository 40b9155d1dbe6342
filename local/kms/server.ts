import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AccessKeys } from '../access/access-keys.ts';
import { SignatureVerifier } from '../access/signature.ts';
import { listen } from '../listen.ts';
import type { Service } from '../service/service.ts';
import { KmsException } from './exception.ts';
import { buildKeyArn, Keyring } from './keyring.ts';
import type { Operation } from './operation.ts';
import { createOperations } from './operations.ts';

export interface KmsStandIn {
  /** The value for `AWS_ENDPOINT_URL_KMS`. */
  readonly url: string;
  /**
   * Creates the keys that the service defines. Keys of an earlier start are found by their aliases.
   * @returns their ARNs, by logical id
   */
  create(service: Pick<Service, 'name' | 'stage' | 'resources'>): Record<string, string>;
  close(): Promise<void>;
}

export interface KmsOptions {
  /** File of the keys, readable only by its owner. If it is lost, no data that the keys encrypted can be decrypted. */
  readonly stateFile: string;
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** Returns epoch milliseconds. */
  readonly now?: () => number;
  /** The keys with which requests must be signed. Signatures are not checked when absent. */
  readonly accessKeys?: AccessKeys;
}

/**
 * Starts a stand-in for AWS KMS on 127.0.0.1. It has KMS's symmetric keys, its keys on the curve P-256 for
 * signatures, its JSON 1.1 protocol and exceptions, and decrypts only with the encryption context that was used to encrypt.
 * @throws Error if the port is taken or the state file can't be read
 */
export async function startKms({ stateFile, port = 0, now = Date.now, accessKeys }: KmsOptions): Promise<KmsStandIn> {
  const keyring = new Keyring(stateFile, now);
  const operations = createOperations(keyring, now);
  const server = createServer((request, response) => {
    handleRequest(request, response, operations).catch(() => response.destroy());
  });
  const listening = await listen(server, { port, verifier: accessKeys && new SignatureVerifier('kms', accessKeys) });
  return {
    url: `http://127.0.0.1:${listening.port}`,
    create({ name, stage, resources }) {
      const keys = Object.entries(resources).filter(([, { Type }]) => Type === 'AWS::KMS::Key');
      return Object.fromEntries(
        keys.map(([logicalId, { Properties }]) => {
          const spec = Properties['KeySpec'] === 'ECC_NIST_P256' ? 'ECC_NIST_P256' : 'SYMMETRIC_DEFAULT';
          return [logicalId, buildKeyArn(keyring.findOrCreate(`alias/${name}-${stage}/${logicalId}`, spec))];
        }),
      );
    },
    close: listening.close,
  };
}

async function handleRequest(
  request: IncomingMessage,
  response: ServerResponse,
  operations: Readonly<Record<string, Operation>>,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk));
  const name = String(request.headers['x-amz-target'] ?? '').replace(/^TrentService\./, '');
  try {
    const run = Object.hasOwn(operations, name) ? operations[name] : undefined;
    if (!run)
      throw new KmsException(
        'UnknownOperationException',
        `The stand-in for KMS doesn't implement ${name || 'this operation'}`,
      );
    send(response, 200, run(parseJson(Buffer.concat(chunks).toString('utf8'))) ?? {});
  } catch (thrown) {
    if (thrown instanceof KmsException) send(response, 400, { __type: thrown.name, message: thrown.message });
    // The state file couldn't be written. Nothing has changed, so the caller may retry.
    else send(response, 500, { __type: 'KMSInternalException', message: String(thrown) });
  }
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json || '{}');
  } catch {
    throw new KmsException('ValidationException', 'The request body is not valid JSON.');
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' });
  response.end(JSON.stringify(body));
}
