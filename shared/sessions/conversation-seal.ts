import type { RecordName } from '../vault/vault.ts';
import type { ConversationKey, ItemRow } from './conversation-records.ts';

/** Returns the name under which a conversation's metadata is sealed. */
export function toMetadataRecordName({ tenant, id }: ConversationKey): RecordName {
  return { tenant, kind: 'conversation', id, epoch: 0, field: 'metadata' };
}

/** Returns the name under which an item is sealed. It contains the position, so items can't be reordered. */
export function toItemRecordName(
  { tenant, id }: ConversationKey,
  row: Pick<ItemRow, 'position' | 'itemId' | 'epoch'>,
): RecordName {
  return { tenant, kind: 'conversation-item', id, epoch: row.epoch, field: `${row.position}#${row.itemId}` };
}

/** Encodes a value as the plaintext of a record: JSON in UTF-8. */
export function encodeJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value), 'utf8');
}

/** Decodes the plaintext of a record that `encodeJson` made. */
export function decodeJson(bytes: Uint8Array): unknown {
  return JSON.parse(Buffer.from(bytes).toString('utf8'));
}

/** True if a value is an object whose values are all strings, as metadata is. */
export function isStringRecord(value: unknown): value is Readonly<Record<string, string>> {
  return typeof value === 'object' && value !== null && Object.values(value).every((each) => typeof each === 'string');
}
