import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BatchWriteItemCommand, CreateTableCommand, DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { createSeededRandom } from '../../local/faults/random.ts';
import type { Item } from '../../shared/aws/attributes.ts';
import {
  encodeDescription,
  encodeLease,
  encodeState,
  number,
  text,
  toWorkerKey,
} from '../../shared/gpu/registry/fleet-items.ts';
import { startServer } from '../processes.ts';
import { MODEL, REGION } from './functions.ts';

/** A fleet in which every worker holds the same number of leases. */
export interface FleetSize {
  readonly workers: number;
  readonly leases: number;
}

/** The fleet table on the local cloud's stand-in for DynamoDB, a separate process. */
export interface FleetTable extends AsyncDisposable {
  readonly url: string;
  readonly client: DynamoDBClient;
}

export const FLEET_TABLE = 'fleets';
export const TENANTS = 4;
/** The default slots of a worker in `models.json`. */
export const SLOTS = 32;
export const BOOT_ID = 'boot-1';
/** Key of a small item, for the plain requests. */
export const PLAIN_KEY: Item = { pk: text('plain'), sk: text('plain') };

const CREDENTIALS = { accessKeyId: 'bench', secretAccessKey: 'bench' };
/** Maximum of puts per BatchWriteItem. */
const AT_ONCE = 25;
/** Duration of the leases, longer than any run. */
const LEASE_MS = 86_400_000;

/** Returns the name of a fleet of this size. */
export const toFleetName = ({ workers, leases }: FleetSize) => `${workers}-workers-${leases}-leases`;

export const toWorkerId = (index: number) => `worker-${index}`;
export const toTenantName = (index: number) => `tenant-${index % TENANTS}`;

/** Returns the AWS variables of a function's environment, with DynamoDB at `url`. */
export function createFunctionEnvironment(url: string): Record<string, string> {
  return {
    AWS_ENDPOINT_URL_DYNAMODB: url,
    AWS_REGION: REGION,
    AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
  };
}

/** Starts the table with these fleets. */
export async function startFleetTable(fleets: readonly FleetSize[]): Promise<FleetTable> {
  await using started = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'lambent-bench-'));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const { url } = started.use(await startServer(join(import.meta.dirname, 'table-server.ts'), [folder]));
  const options = { endpoint: url, region: REGION, credentials: CREDENTIALS };
  const client = started.adopt(new DynamoDBClient(options), (each) => each.destroy());
  await client.send(new CreateTableCommand(DEFINITION));
  await client.send(new PutItemCommand({ TableName: FLEET_TABLE, Item: { ...PLAIN_KEY, count: number(0) } }));
  const random = createSeededRandom(1);
  const items = fleets.flatMap((fleet) => createWorkerItems(fleet, random));
  for (let first = 0; first < items.length; first += AT_ONCE) {
    const puts = items.slice(first, first + AT_ONCE).map((Item) => ({ PutRequest: { Item } }));
    await client.send(new BatchWriteItemCommand({ RequestItems: { [FLEET_TABLE]: puts } }));
  }
  const running = started.move();
  return { url, client, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

const DEFINITION = {
  TableName: FLEET_TABLE,
  BillingMode: 'PAY_PER_REQUEST' as const,
  AttributeDefinitions: [
    { AttributeName: 'pk', AttributeType: 'S' as const },
    { AttributeName: 'sk', AttributeType: 'S' as const },
  ],
  KeySchema: [
    { AttributeName: 'pk', KeyType: 'HASH' as const },
    { AttributeName: 'sk', KeyType: 'RANGE' as const },
  ],
};

function createWorkerItems(size: FleetSize, random: () => number): Item[] {
  const fleet = toFleetName(size);
  return Array.from({ length: size.workers }, (_, index) => {
    const described = {
      fleet,
      id: toWorkerId(index),
      url: `http://10.0.${index >> 8}.${index & 255}:8000/v1`,
      bootId: BOOT_ID,
      state: 'ready' as const,
      slots: SLOTS,
      models: [MODEL],
      source: 'static' as const,
      seenAt: Date.now(),
    };
    const leases = { M: createLeases(size.leases, random) };
    return { ...toWorkerKey(fleet, described.id), ...encodeDescription(described), ...encodeState(described), leases };
  });
}

/** Returns leases, a third of which wait for their first token. */
function createLeases(count: number, random: () => number): Item {
  const expiresAt = Date.now() + LEASE_MS;
  const leases = Array.from({ length: count }, (_, index) => {
    const tokens = Math.ceil(4_000 * random());
    const pendingTokens = random() < 1 / 3 ? tokens : 0;
    const tier = index % 2 === 0 ? ('interactive' as const) : ('batch' as const);
    const id = Math.floor(random() * 16 ** 12)
      .toString(16)
      .padStart(12, '0');
    return [
      id,
      encodeLease({ tier, tenant: toTenantName(index), pendingTokens, weight: tokens + 700, expiresAt }),
    ] as const;
  });
  return Object.fromEntries(leases);
}
