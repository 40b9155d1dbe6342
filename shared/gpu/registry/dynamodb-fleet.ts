import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { Item } from '../../aws/attributes.ts';
import { deleteItem, findItems, putItem, putItems, queryAllItems, type Update, updateItem } from '../../aws/table.ts';
import { omitUndefined } from '../../core/objects.ts';
import {
  EXPIRES_INDEX,
  encodeDescription,
  encodeHolders,
  encodeLease,
  encodePendingTokens,
  encodeState,
  encodeUnmetDemand,
  encodeWaiter,
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

/** Creates a fleet store on DynamoDB. Its methods throw the errors of DynamoDB. `fleet-items.ts` defines the items. */
export function createDynamoDBFleetStore(
  client: DynamoDBClient,
  { tableName, now = Date.now }: DynamoDBFleetOptions,
): FleetStore {
  const table = { client, name: tableName };

  /** @returns true if the condition held */
  function updateWorker(fleet: string, id: string, update: Update): Promise<boolean> {
    return updateItem(table, toWorkerKey(fleet, id), update);
  }

  /** Updates a lease if it exists. */
  function updateLease(fleet: string, workerId: string, leaseId: string, change: string, values?: Item) {
    const condition = 'attribute_exists(leases.#id)';
    const names = { '#id': leaseId };
    return updateWorker(fleet, workerId, { change, condition, names, ...omitUndefined({ values }) });
  }

  return {
    async read(fleet) {
      const items = await queryAllItems(table, { where: 'pk = :pk', values: { ':pk': text(`fleet#${fleet}`) } });
      const withPrefix = (prefix: string) => items.filter(({ sk }) => sk?.S?.startsWith(prefix));
      return {
        workers: withPrefix(WORKER_PREFIX).map((item) => parseWorker(fleet, item)),
        waiters: withPrefix(WAITER_PREFIX).map(parseWaiter),
        unmet: withPrefix(UNMET_PREFIX).map(parseUnmetDemand),
      };
    },

    async findHolders(fleet, prefixes) {
      const keys = [...new Set(prefixes)].map((prefix) => toPrefixKey(fleet, prefix));
      if (keys.length === 0) return new Map();
      // Keys that a throttled table leaves unprocessed count as prefixes without holders: retrying costs more.
      const items = await findItems(table, keys);
      const begin = `prefix#${fleet}#`.length;
      return new Map(
        items.flatMap((item) => {
          const holders = parseHolders(item).filter(({ until }) => until > now());
          return holders.length > 0 ? [[(item['pk']?.S ?? '').slice(begin), holders] as const] : [];
        }),
      );
    },

    async recordHolders(fleet, entries) {
      const items = entries.map(({ prefix, holders }) => encodeHolders(fleet, prefix, holders));
      await putItems(table, items, { unprocessed: 'drop' });
    },

    /**
     * The condition requires each expired lease to exist and to be expired, because it is subtracted from the map's
     * size. It also holds if the worker has this lease already: the request is a repetition whose first response was
     * lost.
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
      await putItem(table, encodeWaiter(fleet, waiter));
    },

    async removeWaiter(fleet, waiterId) {
      await deleteItem(table, toWaiterKey(fleet, waiterId));
    },

    async recordUnmetDemand(fleet, demand) {
      await putItem(table, encodeUnmetDemand(fleet, demand));
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
      const item = {
        ...toWorkerKey(fleet, id),
        ...encodeDescription(worker),
        ...encodeState(worker),
        leases: { M: {} },
      };
      await putItem(table, item, {
        condition: 'attribute_not_exists(pk) OR bootId <> :bootId',
        values: { ':bootId': text(worker.bootId) },
      });
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
      await deleteItem(table, toWorkerKey(fleet, workerId));
    },
  };
}
