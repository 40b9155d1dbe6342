import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CreateTableCommand, DynamoDBClient, waitUntilTableExists } from '@aws-sdk/client-dynamodb';
import { CreateKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { startKms } from '../../../local/kms/server.ts';
import { startObjects } from '../../../local/objects.ts';
import { startTables } from '../../../local/tables.ts';
import type { ChainPorts } from '../../../shared/audit/chain.ts';
import { createChainTable } from '../../../shared/audit/chain-table.ts';
import { createSigner, readPublicKey } from '../../../shared/audit/kms-signer.ts';
import { type AuditProblem, type VerifyOptions, verifyChain } from '../../../shared/audit/verify.ts';
import { createBucket } from '../../../shared/aws/bucket.ts';
import type { Table } from '../../../shared/aws/table.ts';
import type { LogBatch } from '../../../shared/lambda/log-event.ts';
import { addUsage } from '../../../shared/usage/usage-table.ts';

/** Times pass so much faster here, so that a recorder soon completes what a dead one has begun. */
const SPEED = 100;
export const KEPT_DAYS = 400;

/** DynamoDB, S3 and KMS as the recorder sees them over the wire. */
export interface AuditWorld extends AsyncDisposable {
  readonly bucket: ReturnType<typeof createBucket>;
  /** Signs with another key than the chain's. */
  readonly signFalsely: ChainPorts['sign'];
  /** A new table, and the ports of a recorder that works with it. Objects are under a prefix of their own. */
  newLog(): Promise<AuditLog>;
}

export interface AuditLog {
  readonly table: Table;
  readonly ports: ChainPorts;
  readonly objects: VerifyOptions['objects'];
  verify(chain: number, changes?: Partial<VerifyOptions>): Promise<AuditProblem | undefined>;
}

export async function startAuditWorld(): Promise<AuditWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-audit-'));
  const [tables, objects, kms] = await Promise.all([
    startTables({}),
    startObjects(),
    startKms({ stateFile: join(folder, 'kms.json') }),
  ]);
  const client = { region: 'eu-west-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' } };
  const dynamodb = new DynamoDBClient({ ...client, endpoint: tables.url });
  const s3 = new S3Client({ ...client, endpoint: objects.url, forcePathStyle: true });
  const kmsClient = new KMSClient({ ...client, endpoint: kms.url });
  const createKey = async () => {
    const command = new CreateKeyCommand({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' });
    return (await kmsClient.send(command)).KeyMetadata?.KeyId ?? '';
  };
  const [key, otherKey] = [await createKey(), await createKey()];
  await s3.send(new CreateBucketCommand({ Bucket: 'audit' }));
  const bucket = createBucket(s3, 'audit');
  const publicKey = await readPublicKey(kmsClient, key);
  let made = 0;
  return {
    bucket,
    signFalsely: createSigner(kmsClient, otherKey),
    async newLog() {
      made += 1;
      const prefix = `${made}/`;
      const table = await createTable(dynamodb, `usage-${made}`);
      const read: VerifyOptions['objects'] = {
        async *listKeys(name, after) {
          const found = bucket.listKeys(prefix + name, after && prefix + after);
          for await (const key of found) yield key.slice(prefix.length);
        },
        get: (name) => bucket.get(prefix + name),
      };
      const store = createChainTable(table);
      const now = () => Date.now() * SPEED;
      return {
        table,
        objects: read,
        ports: {
          store,
          objects: {
            putNew: async (name, bytes) => void (await bucket.put(prefix + name, bytes, true)),
            get: read.get,
          },
          sign: createSigner(kmsClient, key),
          apply: (digest, entries) => addUsage(table, digest, entries),
          now,
          sleep: (ms) => sleep(ms / SPEED),
        },
        async verify(chain, changes) {
          const readHead = () => store.readHead(chain);
          const options = { objects: read, publicKey, keptDays: KEPT_DAYS, now, readHead };
          return verifyChain(chain, { ...options, head: await readHead(), ...changes });
        },
      };
    },
    async [Symbol.asyncDispose]() {
      for (const each of [dynamodb, s3, kmsClient]) each.destroy();
      await Promise.all([tables.close(), objects.close(), kms.close()]);
      await rm(folder, { recursive: true });
    },
  };
}

async function createTable(client: DynamoDBClient, name: string): Promise<Table> {
  await client.send(
    new CreateTableCommand({
      TableName: name,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: ['pk', 'sk'].map((AttributeName) => ({ AttributeName, AttributeType: 'S' as const })),
      KeySchema: [
        { AttributeName: 'pk', KeyType: 'HASH' },
        { AttributeName: 'sk', KeyType: 'RANGE' },
      ],
    }),
  );
  await waitUntilTableExists({ client, maxWaitTime: 100, minDelay: 0.01, maxDelay: 0.1 }, { TableName: name });
  return { client, name };
}

/** Returns a batch of a log stream with a summary line for each of `calls`. */
export function makeBatch(id: string, logStream: string, calls: readonly object[]): LogBatch {
  const line = { time: '2026-11-30T10:20:30.000Z', level: 'info', message: 'request', record: 'call' };
  return {
    id,
    logGroup: '/aws/lambda/chat',
    logStream,
    lines: calls.map((call) => JSON.stringify({ ...line, ...call })),
  };
}
