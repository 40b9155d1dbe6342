import { type Item, marshall } from '../aws/attributes.ts';
import { getItem, type Table, updateItem } from '../aws/table.ts';
import { LambentError } from '../core/errors.ts';
import { type Hold, type Holds, parseHolds } from './holds.ts';
import { getProjectPartition, parsePolicyItem } from './policy-table.ts';

/**
 * The held keys of projects. They are an attribute of the project's item in the access table, which the authorizer reads for
 * each key: a hold costs no request, and works for users and service accounts, whose tokens have no item. Methods throw
 * DynamoDB's errors, and LambentError `overloaded` if other writers keep changing the same holds.
 */
export interface HoldTable {
  /** Returns the holds of a project that have not ended. */
  list(tenant: string): Promise<Holds>;
  /**
   * Holds a key, whether or not it is held already. A hold by an administrator replaces any other; a hold by the service replaces
   * only a shorter one. Returns false if `MAX_HOLDS` other keys of the project are held. Idempotent.
   */
  place(tenant: string, keyId: string, hold: Hold): Promise<boolean>;
  /** Ends the hold of a key. Returns it; undefined if the key isn't held. */
  release(tenant: string, keyId: string): Promise<Hold | undefined>;
}

/** The most held keys of a project. The authorizer reads all holds with each key. */
export const MAX_HOLDS = 100;
const MAX_ATTEMPTS = 8;

/** Creates the holds of an access table. @param now returns epoch milliseconds */
export function createHoldTable(access: Table, now: () => number): HoldTable {
  const toKey = (tenant: string): Item => marshall({ pk: getProjectPartition(tenant) });

  const read = async (tenant: string): Promise<{ readonly json: string | undefined; readonly holds: Holds }> => {
    const { holds: json } = parsePolicyItem(await getItem(access, toKey(tenant)));
    const current = Object.entries(parseHolds(json)).filter(([, { until }]) => until * 1000 > now());
    return { json, holds: Object.fromEntries(current) };
  };

  /** Replaces the holds that have not ended by `toNext` of them. Undefined leaves them as they are. */
  const change = async (tenant: string, toNext: (holds: Holds) => Holds | undefined): Promise<void> => {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const { json, holds } = await read(tenant);
      const next = toNext(holds);
      if (next === undefined) return;
      const isEmpty = Object.keys(next).length === 0;
      const isWritten = await updateItem(access, toKey(tenant), {
        change: isEmpty ? 'REMOVE holds' : 'SET holds = :holds',
        condition: json === undefined ? 'attribute_not_exists(holds)' : 'holds = :before',
        values: marshall({ ':holds': isEmpty ? undefined : JSON.stringify(next), ':before': json }),
      });
      if (isWritten) return;
    }
    throw new LambentError('overloaded', `Other requests have changed the holds of ${tenant} ${MAX_ATTEMPTS} times`);
  };

  return {
    list: async (tenant) => (await read(tenant)).holds,

    async place(tenant, keyId, hold) {
      let isHeld = true;
      await change(tenant, (holds) => {
        const before = Object.hasOwn(holds, keyId) ? holds[keyId] : undefined;
        isHeld = before !== undefined || Object.keys(holds).length < MAX_HOLDS;
        if (!isHeld || (before !== undefined && hold.reason !== 'manual' && before.until >= hold.until))
          return undefined;
        return { ...holds, [keyId]: hold };
      });
      return isHeld;
    },

    async release(tenant, keyId) {
      let released: Hold | undefined;
      await change(tenant, (holds) => {
        const { [keyId]: hold, ...others } = holds;
        released = Object.hasOwn(holds, keyId) ? hold : undefined;
        return released === undefined ? undefined : others;
      });
      return released;
    },
  };
}
