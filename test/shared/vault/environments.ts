import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { startKms } from '../../../local/kms/server.ts';
import { listen } from '../../../local/listen.ts';
import { startTables } from '../../../local/tables.ts';
import { createVault, type TenantVault, type VaultOptions } from '../../../shared/vault/create-vault.ts';
import { createTenantKeyTable, type TenantKeyTable } from '../../../shared/vault/key-table.ts';
import { createKeyGenerator, createKeyUnwrapper, type KmsCall } from '../../../shared/vault/kms-keys.ts';
import { createTableInput } from '../../tables.ts';

/** Returns the response or cut that replaces one request's response; undefined to forward the request. */
export type Fault = (operation: string) => { status: number; type: string } | 'cut' | undefined;

/** The keys table and KMS, with real clients over the wire. */
export interface Services extends AsyncDisposable {
  readonly dynamodb: DynamoDBClient;
  /** The endpoint of `dynamodb`. */
  readonly url: string;
  readonly kms: KMSClient;
  readonly keyId: string;
  /** The clock of all environments, in epoch milliseconds. */
  clock: { now: number };
  /** The faults of requests from now on. */
  faults: { dynamodb: Fault; kms: Fault };
  /** Operations that reached KMS since the test last emptied the array. */
  readonly kmsOperations: string[];
  /** Creates an empty keys table; returns its client and name. */
  newTable(): Promise<TenantKeyTable & { readonly name: string }>;
}

/** Starts the stand-ins of DynamoDB and KMS, each behind a proxy that injects faults. */
export async function startServices(): Promise<Services> {
  const clock = { now: Date.parse('2026-11-01T00:00:00Z') };
  const faults: Services['faults'] = { dynamodb: () => undefined, kms: () => undefined };
  const kmsOperations: string[] = [];
  const folder = await mkdtemp(join(tmpdir(), 'lambent-vault-'));
  const tables = await startTables({});
  const realKms = await startKms({ stateFile: join(folder, 'kms.json'), now: () => clock.now });
  const dynamodbProxy = await startProxy(tables.url, (operation) => faults.dynamodb(operation));
  const kmsProxy = await startProxy(realKms.url, (operation) => {
    kmsOperations.push(operation);
    return faults.kms(operation);
  });
  const client = { region: 'eu-west-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' }, maxAttempts: 1 };
  const dynamodb = new DynamoDBClient({ ...client, endpoint: dynamodbProxy.url });
  const kms = new KMSClient({ ...client, endpoint: kmsProxy.url });
  const keyId = (await kms.send(new CreateKeyCommand({}))).KeyMetadata?.KeyId ?? '';
  let created = 0;
  return {
    dynamodb,
    url: dynamodbProxy.url,
    kms,
    keyId,
    clock,
    faults,
    kmsOperations,
    async newTable() {
      const TableName = `keys-${created++}`;
      await dynamodb.send(new CreateTableCommand(createTableInput(TableName)));
      return { ...createTenantKeyTable(dynamodb, TableName), name: TableName };
    },
    async [Symbol.asyncDispose]() {
      kms.destroy();
      dynamodb.destroy();
      await Promise.all([kmsProxy, dynamodbProxy, realKms, tables].map((server) => server.close()));
      await rm(folder, { recursive: true });
    },
  };
}

/** The vault of a function environment, and its calls to KMS. */
export interface Environment extends TenantVault {
  readonly calls: KmsCall[];
}

/**
 * Starts a function environment on these services.
 * @param mayCreate true if its role may create tenant keys
 */
export function startEnvironment(
  { kms, keyId, clock }: Pick<Services, 'kms' | 'keyId' | 'clock'>,
  table: TenantKeyTable,
  { mayCreate = true, ...options }: Partial<VaultOptions> & { mayCreate?: boolean } = {},
): Environment {
  const calls: KmsCall[] = [];
  const onCall = (call: KmsCall) => void calls.push(call);
  const vault = createVault({
    table,
    unwrap: createKeyUnwrapper(kms, keyId, onCall, () => clock.now),
    generate: mayCreate ? createKeyGenerator(kms, keyId, onCall) : undefined,
    now: () => clock.now,
    ...options,
  });
  return { ...vault, calls };
}

/** Returns the code of the error that `work` rejects with; undefined if it succeeds. */
export async function catchCode(work: Promise<unknown>): Promise<unknown> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return Reflect.get(Object(error), 'code');
}

async function startProxy(target: string, chooseFault: Fault): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    forwardRequest(request, response, target, chooseFault).catch(() => response.destroy());
  });
  const { port, close } = await listen(server, { port: 0 });
  return { url: `http://127.0.0.1:${port}`, close };
}

async function forwardRequest(
  request: IncomingMessage,
  response: ServerResponse,
  target: string,
  chooseFault: Fault,
): Promise<void> {
  const body = await buffer(request);
  const operation = String(request.headers['x-amz-target']).replace(/^.*\./, '');
  const fault = chooseFault(operation);
  if (fault === 'cut') return void response.destroy();
  if (fault !== undefined) {
    response.writeHead(fault.status, { 'content-type': 'application/x-amz-json-1.0' });
    return void response.end(JSON.stringify({ __type: fault.type, message: 'injected by the test' }));
  }
  const { host: _, connection: __, ...headers } = request.headers;
  const answer = await fetch(target, { method: 'POST', headers: headers as Record<string, string>, body });
  response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
  response.end(Buffer.from(await answer.arrayBuffer()));
}
