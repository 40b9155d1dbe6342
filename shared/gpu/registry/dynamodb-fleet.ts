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
  EXPIRES_INDEX,
  encodeDescription,
  encodeHolders,
  encodeLease,
  encodePendingTokens,
  encodeState,
  encodeUnmetDemand,
  encodeWaiter,
  type Item,
  number,
  PENDING_INDEX,
  parseHolders,
  parseUnmetDemand,
  parseWaiter,
  parseWorker,
  text,
  toPrefixKey,
  toWaiterKey,
  toWorkerKey,
  UNMET_PREFIX,
  WAITER_PREFIX,
  WORKER_PREFIX,
} from './fleet-items.ts';
import type { FleetStore } from './fleet-store.ts';

export interface DynamoDBFleetOptions {
  readonly tableName: string;
  /** Epoch milliseconds, by which directory entries expire before the table's TTL removes them. */
  readonly now?: () => number;
}

/** The expressions of an update. */
interface Update {
  readonly change: string;
  readonly condition: string;
  readonly names?: Record<string, string>;
  readonly values?: Item;
}

/** Creates a fleet store on DynamoDB. Its methods throw the errors of DynamoDB. `fleet-items.ts` defines the items. */
export function createDynamoDBFleetStore(
  client: DynamoDBClient,
  { tableName: TableName, now = Date.now }: DynamoDBFleetOptions,
): FleetStore {
  /** @returns true if the condition held */
  async function updateWorker(fleet: string, id: string, { change, condition, names, values }: Update) {
    return isConditionMet(
      client.send(
        new UpdateItemCommand({
          TableName,
          Key: toWorkerKey(fleet, id),
          UpdateExpression: change,
          ConditionExpression: condition,
          ...(names === undefined ? {} : { ExpressionAttributeNames: names }),
          ...(values === undefined ? {} : { ExpressionAttributeValues: values }),
        }),
      ),
    );
  }

  /** Updates a lease if it exists. */
  function updateLease(fleet: string, workerId: string, leaseId: string, change: string, values?: Item) {
    return updateWorker(fleet, workerId, {
      change,
      condition: 'attribute_exists(leases.#id)',
      names: { '#id': leaseId },
      ...(values === undefined ? {} : { values }),
    });
  }

  /** Makes one request per 1 MB of items. */
  async function readItems(fleet: string): Promise<Item[]> {
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
      const items = await readItems(fleet);
      const withPrefix = (prefix: string) => items.filter(({ sk }) => sk?.S?.startsWith(prefix));
      return {
        workers: withPrefix(WORKER_PREFIX).map((item) => parseWorker(fleet, item)),
        waiters: withPrefix(WAITER_PREFIX).map(parseWaiter),
        unmet: withPrefix(UNMET_PREFIX).map(parseUnmetDemand),
      };
    },

    async findHolders(fleet, prefixes) {
      const Keys = [...new Set(prefixes)].map((prefix) => toPrefixKey(fleet, prefix));
      if (Keys.length === 0) return new Map();
      // Keys that a throttled table leaves out (`UnprocessedKeys`) count as prefixes without holders: retrying costs more.
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
        PutRequest: { Item: encodeHolders(fleet, prefix, holders) },
      }));
      await client.send(new BatchWriteItemCommand({ RequestItems: { [TableName]: puts } }));
    },

    /**
     * The condition requires each expired lease to exist and to be expired, because it is subtracted from the map's size. It
     * also holds if the worker has this lease already: the request is a repetition whose first response was lost.
     */
    async lease(fleet, workerId, { id, lease, bootId, cap, expired, now: at }) {
      const removed = expired.map((_, index) => `leases.#e${index}`);
      const stillExpired = removed.map((path) => ` AND ${path}[${EXPIRES_INDEX}] <= :now`).join('');
      return updateWorker(fleet, workerId, {
        change: `SET leases.#id = :lease${removed.length === 0 ? '' : ` REMOVE ${removed.join(', ')}`}`,
        condition:
          `bootId = :bootId AND #state = :ready AND ` +
          `(attribute_exists(leases.#id) OR (size(leases) < :limit${stillExpired}))`,
        names: {
          '#id': id,
          '#state': 'state',
          ...Object.fromEntries(expired.map((each, index) => [`#e${index}`, each])),
        },
        values: {
          ':lease': encodeLease(lease),
          ':bootId': text(bootId),
          ':ready': text('ready'),
          ':limit': number(cap + expired.length),
          ...(expired.length === 0 ? {} : { ':now': number(at) }),
        },
      });
    },

    async markFirstToken(fleet, workerId, leaseId) {
      await updateLease(fleet, workerId, leaseId, `SET leases.#id[${PENDING_INDEX}] = :none`, {
        ':none': encodePendingTokens(0),
      });
    },

    renew(fleet, workerId, leaseId, expiresAt) {
      return updateLease(fleet, workerId, leaseId, `SET leases.#id[${EXPIRES_INDEX}] = :until`, {
        ':until': number(expiresAt),
      });
    },

    async release(fleet, workerId, leaseId) {
      await updateLease(fleet, workerId, leaseId, 'REMOVE leases.#id');
    },

    async putWaiter(fleet, waiter) {
      await client.send(new PutItemCommand({ TableName, Item: encodeWaiter(fleet, waiter) }));
    },

    async removeWaiter(fleet, waiterId) {
      await client.send(new DeleteItemCommand({ TableName, Key: toWaiterKey(fleet, waiterId) }));
    },

    async recordUnmetDemand(fleet, demand) {
      await client.send(new PutItemCommand({ TableName, Item: encodeUnmetDemand(fleet, demand) }));
    },

    async register(worker) {
      const { fleet, id } = worker;
      const description = Object.entries(encodeDescription(worker));
      const sets = description.map(([name]) => `#${name} = :${name}`).join(', ');
      const isKnown = await updateWorker(fleet, id, {
        change: `SET ${sets}${worker.instance === undefined ? ' REMOVE #instance' : ''}`,
        condition: 'bootId = :bootId',
        names: { '#instance': 'instance', ...Object.fromEntries(description.map(([name]) => [`#${name}`, name])) },
        values: Object.fromEntries(description.map(([name, value]) => [`:${name}`, value])),
      });
      if (isKnown) return;
      // The condition fails if another registration of the same start came first, with the same description.
      await isConditionMet(
        client.send(
          new PutItemCommand({
            TableName,
            Item: {
              ...toWorkerKey(fleet, id),
              ...encodeDescription(worker),
              ...encodeState(worker),
              leases: { M: {} },
            },
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
      await client.send(new DeleteItemCommand({ TableName, Key: toWorkerKey(fleet, workerId) }));
    },
  };
}

async function isConditionMet(writing: Promise<unknown>): Promise<boolean> {
  try {
    await writing;
    return true;
  } catch (thrown) {
    if (thrown instanceof ConditionalCheckFailedException) return false;
    throw thrown;
  }
}
