import {
  createSenderItem,
  getSenderPartition,
  parseSenderRecord,
  SENDER_ATTRIBUTES,
  type SenderRecord,
} from '../access/senders.ts';
import { type Item, marshall } from '../aws/attributes.ts';
import { deleteItem, getItem, putItem, type Table } from '../aws/table.ts';
import { isKeyText } from './object-table.ts';

/** A sender's item, and what it says: undefined if it is invalid, so that intake rejects the sender's messages. */
export interface StoredSender {
  readonly item: Item;
  readonly record: SenderRecord | undefined;
}

/** The senders that intake accepts messages from, by id. Methods throw DynamoDB's errors. */
export interface SenderItems {
  /** Returns undefined if there is no such item. */
  read(id: string): Promise<StoredSender | undefined>;
  /** Writes a new sender. Returns false, and writes nothing, if there is an item with its id. */
  create(id: string, record: SenderRecord): Promise<boolean>;
  /**
   * Replaces a sender, and keeps attributes that this version doesn't know. Returns false, and writes nothing, if another
   * request, `npm run tenant -- erase` or an operator has changed it since `before` was read.
   */
  replace(id: string, before: StoredSender, record: SenderRecord): Promise<boolean>;
  /** Returns false if there is no such item. */
  delete(id: string): Promise<boolean>;
}

/** Creates the senders of an access table. */
export function createSenderItems(access: Table): SenderItems {
  const toKey = (id: string): Item => marshall({ pk: getSenderPartition(id) });
  return {
    async read(id) {
      const item = isKeyText(id) ? await getItem(access, toKey(id)) : undefined;
      return item && { item, record: parseSenderRecord(item) };
    },

    create: (id, record) => putItem(access, createSenderItem(id, record), { condition: 'attribute_not_exists(pk)' }),

    replace(id, { item }, record) {
      const unknown = Object.entries(item).filter(([name]) => !SENDER_ATTRIBUTES.includes(name));
      const replaced = { ...Object.fromEntries(unknown), ...createSenderItem(id, record) };
      return putItem(access, replaced, createUnchangedCondition(item));
    },

    delete: async (id) => isKeyText(id) && (await deleteItem(access, toKey(id), { condition: 'attribute_exists(pk)' })),
  };
}

/** Returns the condition that an item's attributes are still as they were read. Items written by hand have no version. */
function createUnchangedCondition(item: Item) {
  const tests = SENDER_ATTRIBUTES.map((name) =>
    item[name] ? `#${name} = :${name}` : `attribute_not_exists(#${name})`,
  );
  const present = SENDER_ATTRIBUTES.flatMap((name) => (item[name] ? [[`:${name}`, item[name]] as const] : []));
  return {
    condition: tests.join(' AND '),
    names: Object.fromEntries(SENDER_ATTRIBUTES.map((name) => [`#${name}`, name])),
    values: Object.fromEntries(present),
  };
}
