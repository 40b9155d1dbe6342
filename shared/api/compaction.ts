import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { ItemIdGenerator, StoredItem } from '../openai/responses/stored-items.ts';
import { isStoredItem } from '../openai/responses/stored-items.ts';
import { invalidValueError } from '../openai/validation.ts';
import type { RecordName, Vault } from '../vault/vault.ts';
import type { TurnItem } from './turn-items.ts';

/** The format's name and version. */
const PREFIX = 'lambentc1.';
/** As `PREFIX`, for an item that replaces all items before it. */
const REPLACING_PREFIX = 'lambentw1.';

/** An item as a model gets it. */
export interface ExpandedItem extends TurnItem {
  /** Present if the item comes from a compaction. */
  readonly isCompacted?: true;
}

/** Returns whether an item stands for a compacted conversation. */
export function isCompaction(item: { readonly type?: unknown }): boolean {
  return item.type === 'compaction';
}

/** Returns the items from the latest one that replaces all items before it; all items if none does. */
export function startFromCompaction(turnItems: readonly TurnItem[]): readonly TurnItem[] {
  const start = turnItems.findLastIndex(({ item }) => replacesEarlierItems(item));
  return turnItems.slice(Math.max(0, start));
}

/** Returns whether an item is a compaction item that replaces all items before it. */
export function replacesEarlierItems(item: Readonly<Record<string, unknown>> | { readonly type?: unknown }): boolean {
  const content = 'encrypted_content' in item ? item.encrypted_content : undefined;
  return isCompaction(item) && typeof content === 'string' && content.startsWith(REPLACING_PREFIX);
}

/**
 * Prepares a compaction item, before the model that summarizes is called: if the tenant's key can't be used, the call costs nothing.
 * @param options `replacesEarlier`: whether the item also replaces the items before it
 * @returns a function that returns the compaction item that stands for `items`. It can be called once. Only the tenant can send the item
 * back, and nothing opens it after the tenant was erased
 * @throws LambentError as `Vault.seal` does
 */
export async function prepareCompaction(
  tenant: string,
  vault: Pick<Vault, 'prepareSeal'>,
  createItemId: ItemIdGenerator,
  { replacesEarlier = false }: { readonly replacesEarlier?: boolean } = {},
) {
  const prefix = replacesEarlier ? REPLACING_PREFIX : PREFIX;
  const seal = await vault.prepareSeal(recordName(tenant, prefix));
  return (items: readonly StoredItem[]) => {
    const sealed = seal(Buffer.from(JSON.stringify({ items })));
    const encrypted_content = prefix + Buffer.from(sealed).toString('base64url');
    return { id: `cmp_${createItemId()}`, type: 'compaction' as const, encrypted_content };
  };
}

/**
 * Returns turn items with the content of compaction items in their place.
 * @throws LambentError `invalid_value` for content that this tenant wasn't given, or that was changed; `vault_unavailable`
 */
export async function expandCompactions(
  turnItems: readonly TurnItem[],
  tenant: string,
  vault: Pick<Vault, 'openReceived'>,
): Promise<ExpandedItem[]> {
  const expanded: ExpandedItem[] = [];
  for (const turnItem of turnItems) {
    if (!isCompaction(turnItem.item)) expanded.push(turnItem);
    else
      for (const item of await openCompaction(turnItem.item, tenant, vault)) expanded.push({ item, isCompacted: true });
  }
  return expanded;
}

/**
 * Returns the items for which a compaction item stands.
 * @throws as `expandCompactions`
 */
export async function openCompaction(
  item: Readonly<Record<string, unknown>>,
  tenant: string,
  vault: Pick<Vault, 'openReceived'>,
): Promise<StoredItem[]> {
  const content = item['encrypted_content'];
  const prefix = [PREFIX, REPLACING_PREFIX].find((each) => typeof content === 'string' && content.startsWith(each));
  if (typeof content !== 'string' || prefix === undefined) throw unreadableError();
  try {
    const sealed = Buffer.from(content.slice(prefix.length), 'base64url');
    const json = await vault.openReceived(recordName(tenant, prefix), sealed);
    const opened: unknown = JSON.parse(Buffer.from(json).toString('utf8'));
    if (isObject(opened) && Array.isArray(opened['items'])) return opened['items'].filter(isStoredItem);
  } catch (thrown) {
    if (!(thrown instanceof LambentError && thrown.code === 'record_unreadable')) throw thrown;
  }
  throw unreadableError();
}

/** Returns the name of a sealed record. It depends on the prefix, so that a record with another prefix doesn't open. */
function recordName(tenant: string, prefix: string): RecordName {
  return { tenant, kind: 'compaction', id: '', epoch: 0, field: prefix === REPLACING_PREFIX ? 'whole' : '' };
}

function unreadableError(): LambentError {
  return invalidValueError('input', "The 'encrypted_content' of a compaction item could not be verified.");
}
