import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { createTableInput } from '../../tables.ts';
import { waitUntil } from '../../wait.ts';
import { closeAfterwards } from '../runners.ts';

export interface TableServer {
  /** Sends a request as it is, so that also invalid ones arrive. Returns the status and the parsed body. */
  send(operation: string, input: object): Promise<{ readonly status: number; readonly body: unknown }>;
  /** Creates a table with all kinds of indexes and projections, and waits until it can be used. */
  create(TableName: string): Promise<void>;
  /** Deletes a table, and waits until it is gone. */
  remove(TableName: string): Promise<void>;
  /** Ends the process in order. */
  end(): Promise<void>;
  /** Ends the process without warning. */
  kill(): Promise<void>;
}

/**
 * Starts a stand-in for DynamoDB in a process of its own: `installed` is dynalite itself, `local` is the local cloud's.
 * @param path folder in which it stores tables; in memory when absent
 */
export async function startServer(kind: 'installed' | 'local', path?: string): Promise<TableServer> {
  const args = [join(import.meta.dirname, 'fixtures/serve.ts'), kind, ...(path === undefined ? [] : [path])];
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const endBy = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    await exited;
  };
  const kill = () => endBy('SIGKILL');
  closeAfterwards({ close: kill });
  if (child.stdout === null) throw new Error('no output');
  const [url]: unknown[] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    exited.then(() => Promise.reject(new Error('The server did not start'))),
  ]);
  const agent = new Agent({ keepAlive: true });
  const sendTo: TableServer['send'] = (operation, input) => send(`${url}`, agent, operation, input);
  const waitForStatus = (TableName: string, wanted: string) =>
    waitUntil(`${TableName} has the status ${wanted}`, async () =>
      JSON.stringify(await sendTo('DescribeTable', { TableName })).includes(wanted),
    );
  return {
    end: () => endBy('SIGTERM'),
    kill,
    send: sendTo,
    async create(TableName) {
      await sendTo('CreateTable', describeTable(TableName));
      await waitForStatus(TableName, '"TableStatus":"ACTIVE"');
    },
    async remove(TableName) {
      await sendTo('DeleteTable', { TableName });
      await waitForStatus(TableName, 'ResourceNotFoundException');
    },
  };
}

async function send(url: string, agent: Agent, operation: string, input: object) {
  const headers = {
    'content-type': 'application/x-amz-json-1.0',
    'x-amz-target': `DynamoDB_20120810.${operation}`,
    'x-amz-date': '20261129T000000Z',
    authorization:
      'AWS4-HMAC-SHA256 Credential=a/20261129/eu-west-1/dynamodb/aws4_request, SignedHeaders=host, Signature=a',
  };
  const sent = request(url, { method: 'POST', agent, headers });
  sent.end(JSON.stringify(input));
  const [response] = await once(sent, 'response');
  return { status: response.statusCode as number, body: JSON.parse(await text(response)) as unknown };
}

/** Creates a folder that is removed after the test. */
export function createFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lambent-tables-'));
  closeAfterwards({ close: () => rmSync(folder, { recursive: true, force: true }) });
  return folder;
}

function describeTable(TableName: string): object {
  const hash = (AttributeName: string) => ({ AttributeName, KeyType: 'HASH' });
  const range = (AttributeName: string) => ({ AttributeName, KeyType: 'RANGE' });
  const table = createTableInput(TableName);
  return {
    ...table,
    AttributeDefinitions: [
      ...table.AttributeDefinitions,
      { AttributeName: 'a', AttributeType: 'S' },
      { AttributeName: 'n', AttributeType: 'N' },
    ],
    LocalSecondaryIndexes: [
      { IndexName: 'local', KeySchema: [hash('pk'), range('n')], Projection: { ProjectionType: 'KEYS_ONLY' } },
    ],
    GlobalSecondaryIndexes: [
      { IndexName: 'all', KeySchema: [hash('a'), range('n')], Projection: { ProjectionType: 'ALL' } },
      {
        IndexName: 'some',
        KeySchema: [hash('a')],
        Projection: { ProjectionType: 'INCLUDE', NonKeyAttributes: ['m'] },
      },
    ],
  };
}
