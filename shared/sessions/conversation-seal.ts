import type { RecordName } from '../vault/vault.ts';
import type { ConversationKey, ItemRow } from './conversation-records.ts';

/** The name under which a conversation's metadata is sealed. */
export function toMetadataRecordName({ tenant, id }: ConversationKey): RecordName {
  return { tenant, kind: 'conversation', id, epoch: 0, field: 'metadata' };
}

/** The name under which an item is sealed: bound to its place, so that items can't be put into another order. */
export function toItemRecordName(
  { tenant, id }: ConversationKey,
  row: Pick<ItemRow, 'position' | 'itemId' | 'epoch'>,
): RecordName {
  return { tenant, kind: 'conversation-item', id, epoch: row.epoch, field: `${row.position}#${row.itemId}` };
}

/** A value as it is sealed. */
export function encodeJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value), 'utf8');
}

/** What `bytesOf` made into bytes. */
export function decodeJson(bytes: Uint8Array): unknown {
  return JSON.parse(Buffer.from(bytes).toString('utf8'));
}

/** Whether a value is metadata. */
export function isStringRecord(value: unknown): value is Readonly<Record<string, string>> {
  return typeof value === 'object' && value !== null && Object.values(value).every((each) => typeof each === 'string');
}
