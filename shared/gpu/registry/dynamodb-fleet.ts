import {
  BatchGetItemCommand,
  BatchWriteItemCommand,
  ConditionalCheckFailedException,
  DeleteItemCommand,
  type DynamoDBClient,
  PutItemCommand,
  QueryCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import {
  descriptionOf,
  type Item,
  LEASE_EXPIRES,
  LEASE_PENDING,
  leaseValue,
  number,
  parseHolders,
  parseUnmet,
  parseWaiter,
  parseWorker,
  pendingValue,
  prefixItem,
  prefixKey,
  stateOf,
  text,
  UNMET,
  unmetItem,
  WAITER,
  WORKER,
  waiterItem,
  waiterKey,
  workerKey,
} from './fleet-items.ts';
import type { FleetStore } from './fleet-store.ts';

export interface DynamoDBFleetOptions {
  readonly tableName: string;
  /** Epoch milliseconds, by which what is said of prefixes expires before the table's TTL removes it. */
  readonly now?: () => number;
}

/** What an update says, in DynamoDB's language. */
interface Update {
  readonly change: string;
  readonly condition: string;
  readonly names?: Record<string, string>;
  readonly values?: Item;
}

/** Fleets in DynamoDB. Throws what DynamoDB throws; the items' form is `fleet-items.ts`'s. */
export function createDynamoDBFleetStore(
  client: DynamoDBClient,
  { tableName: TableName, now = Date.now }: DynamoDBFleetOptions,
): FleetStore {
  /** @returns whether the condition held */
  async function updateWorker(fleet: string, id: string, { change, condition, names, values }: Update) {
    return whetherItHolds(
      client.send(
        new UpdateItemCommand({
          TableName,
          Key: workerKey(fleet, id),
          UpdateExpression: change,
          ConditionExpression: condition,
          ...(names === undefined ? {} : { ExpressionAttributeNames: names }),
          ...(values === undefined ? {} : { ExpressionAttributeValues: values }),
        }),
      ),
    );
  }

  /** Changes a lease, if the worker still has it. */
  function updateLease(fleet: string, workerId: string, leaseId: string, change: string, values?: Item) {
    return updateWorker(fleet, workerId, {
      change,
      condition: 'attribute_exists(leases.#id)',
      names: { '#id': leaseId },
      ...(values === undefined ? {} : { values }),
    });
  }

  /** One request, unless the fleet is larger than the 1 MB that one brings. */
  async function itemsOf(fleet: string): Promise<Item[]> {
    const items: Item[] = [];
    let ExclusiveStartKey: Item | undefined;
    do {
      const page = await client.send(
        new QueryCommand({
          TableName,
          KeyConditionExpression: 'pk = :pk',
          ExpressionAttributeValues: { ':pk': text(`fleet#${fleet}`) },
          ConsistentRead: true,
          ...(ExclusiveStartKey === undefined ? {} : { ExclusiveStartKey }),
        }),
      );
      items.push(...(page.Items ?? []));
      ExclusiveStartKey = page.LastEvaluatedKey;
    } while (ExclusiveStartKey !== undefined);
    return items;
  }

  return {
    async read(fleet) {
      const items = await itemsOf(fleet);
      const begins = (prefix: string) => items.filter(({ sk }) => sk?.S?.startsWith(prefix));
      return {
        workers: begins(WORKER).map((item) => parseWorker(fleet, item)),
        waiters: begins(WAITER).map(parseWaiter),
        unmet: begins(UNMET).map(parseUnmet),
      };
    },

    async findHolders(fleet, prefixes) {
      const Keys = [...new Set(prefixes)].map((prefix) => prefixKey(fleet, prefix));
      if (Keys.length === 0) return new Map();
      // What a busy table leaves out (`UnprocessedKeys`) is taken as held by nobody: an answer now is worth more.
      const { Responses } = await client.send(new BatchGetItemCommand({ RequestItems: { [TableName]: { Keys } } }));
      const begin = `prefix#${fleet}#`.length;
      return new Map(
        (Responses?.[TableName] ?? []).flatMap((item) => {
          const holders = parseHolders(item).filter(({ until }) => until > now());
          return holders.length > 0 ? [[(item['pk']?.S ?? '').slice(begin), holders] as const] : [];
        }),
      );
    },

    async recordHolders(fleet, entries) {
      if (entries.length === 0) return;
      const puts = entries.map(({ prefix, holders }) => ({
        PutRequest: { Item: prefixItem(fleet, prefix, holders) },
      }));
      await client.send(new BatchWriteItemCommand({ RequestItems: { [TableName]: puts } }));
    },

    /**
     * An expired lease must be there, and be expired, when it is removed: it is counted off the map's size. That the worker
     * has this very lease already is what a repetition finds whose first answer was lost.
     */
    async lease(fleet, workerId, { id, lease, bootId, cap, expired, now: at }) {
      const gone = expired.map((_, index) => `leases.#e${index}`);
      const stillExpired = gone.map((path) => ` AND ${path}[${LEASE_EXPIRES}] <= :now`).join('');
      return updateWorker(fleet, workerId, {
        change: `SET leases.#id = :lease${gone.length === 0 ? '' : ` REMOVE ${gone.join(', ')}`}`,
        condition:
          `bootId = :bootId AND #state = :ready AND ` +
          `(attribute_exists(leases.#id) OR (size(leases) < :limit${stillExpired}))`,
        names: {
          '#id': id,
          '#state': 'state',
          ...Object.fromEntries(expired.map((each, index) => [`#e${index}`, each])),
        },
        values: {
          ':lease': leaseValue(lease),
          ':bootId': text(bootId),
          ':ready': text('ready'),
          ':limit': number(cap + expired.length),
          ...(expired.length === 0 ? {} : { ':now': number(at) }),
        },
      });
    },

    async markFirstToken(fleet, workerId, leaseId) {
      await updateLease(fleet, workerId, leaseId, `SET leases.#id[${LEASE_PENDING}] = :none`, {
        ':none': pendingValue(0),
      });
    },

    renew(fleet, workerId, leaseId, expiresAt) {
      return updateLease(fleet, workerId, leaseId, `SET leases.#id[${LEASE_EXPIRES}] = :until`, {
        ':until': number(expiresAt),
      });
    },

    async release(fleet, workerId, leaseId) {
      await updateLease(fleet, workerId, leaseId, 'REMOVE leases.#id');
    },

    async putWaiter(fleet, waiter) {
      await client.send(new PutItemCommand({ TableName, Item: waiterItem(fleet, waiter) }));
    },

    async removeWaiter(fleet, waiterId) {
      await client.send(new DeleteItemCommand({ TableName, Key: waiterKey(fleet, waiterId) }));
    },

    async recordUnmetDemand(fleet, demand) {
      await client.send(new PutItemCommand({ TableName, Item: unmetItem(fleet, demand) }));
    },

    async register(worker) {
      const { fleet, id } = worker;
      const description = Object.entries(descriptionOf(worker));
      const sets = description.map(([name]) => `#${name} = :${name}`).join(', ');
      const known = await updateWorker(fleet, id, {
        change: `SET ${sets}${worker.instance === undefined ? ' REMOVE #instance' : ''}`,
        condition: 'bootId = :bootId',
        names: { '#instance': 'instance', ...Object.fromEntries(description.map(([name]) => [`#${name}`, name])) },
        values: Object.fromEntries(description.map(([name, value]) => [`:${name}`, value])),
      });
      if (known) return;
      // Refused when another registration of the same start came first, which said the same.
      await whetherItHolds(
        client.send(
          new PutItemCommand({
            TableName,
            Item: { ...workerKey(fleet, id), ...descriptionOf(worker), ...stateOf(worker), leases: { M: {} } },
            ConditionExpression: 'attribute_not_exists(pk) OR bootId <> :bootId',
            ExpressionAttributeValues: { ':bootId': text(worker.bootId) },
          }),
        ),
      );
    },

    setState(fleet, workerId, bootId, { state, reason, at, from }) {
      const isReady = state === 'ready';
      return updateWorker(fleet, workerId, {
        change: `SET #state = :state${isReady ? ' REMOVE stateReason, stateSince' : ', stateReason = :reason, stateSince = :at'}`,
        condition: `bootId = :bootId${from === undefined ? '' : ' AND #state = :from'}`,
        names: { '#state': 'state' },
        values: {
          ':state': text(state),
          ':bootId': text(bootId),
          ...(isReady ? {} : { ':reason': text(reason), ':at': number(at) }),
          ...(from === undefined ? {} : { ':from': text(from) }),
        },
      });
    },

    async deregister(fleet, workerId) {
      await client.send(new DeleteItemCommand({ TableName, Key: workerKey(fleet, workerId) }));
    },
  };
}

async function whetherItHolds(writing: Promise<unknown>): Promise<boolean> {
  try {
    await writing;
    return true;
  } catch (thrown) {
    if (thrown instanceof ConditionalCheckFailedException) return false;
    throw thrown;
  }
}
