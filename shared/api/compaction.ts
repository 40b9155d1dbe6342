import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { ItemIdGenerator, StoredItem } from '../openai/responses/stored-items.ts';
import { isStoredItem } from '../openai/responses/stored-items.ts';
import { invalidValueError } from '../openai/validation.ts';
import type { RecordName, Vault } from '../vault/vault.ts';
import type { TurnItem } from './turn-items.ts';

/** The format's name and version. */
const PREFIX = 'lambentc1.';
/** As `PREFIX`, for an item that also stands for all items before it. */
const WHOLE_PREFIX = 'lambentw1.';

/** An item as a model gets it. */
export interface ExpandedItem extends TurnItem {
  /** Present if the item comes from a compaction. */
  readonly isCompacted?: true;
}

/** Returns whether an item stands for a compacted conversation. */
export function isCompaction(item: { readonly type?: unknown }): boolean {
  return item.type === 'compaction';
}

/**
 * Returns items from the latest one that stands for all before it. Returns all if there is none.
 */
export function startFromCompaction(turnItems: readonly TurnItem[]): readonly TurnItem[] {
  return turnItems.slice(
    Math.max(
      0,
      turnItems.findLastIndex(({ item }) => isWholeCompaction(item)),
    ),
  );
}

/** Returns whether an item stands for all items before it. */
export function isWholeCompaction(item: Readonly<Record<string, unknown>> | { readonly type?: unknown }): boolean {
  const content = 'encrypted_content' in item ? item.encrypted_content : undefined;
  return isCompaction(item) && typeof content === 'string' && content.startsWith(WHOLE_PREFIX);
}

/**
 * Returns the compaction item that stands for `items`. Only its tenant can send it back, and nothing opens it after the
 * tenant was erased.
 * @param options `isWhole`: whether the item also stands for the items before it
 * @throws LambentError as `Vault.seal` does
 */
export async function sealCompaction(
  items: readonly StoredItem[],
  tenant: string,
  vault: Pick<Vault, 'seal'>,
  createItemId: ItemIdGenerator,
  { isWhole = false }: { readonly isWhole?: boolean } = {},
) {
  const prefix = isWhole ? WHOLE_PREFIX : PREFIX;
  const sealed = await vault.seal(recordName(tenant, prefix), Buffer.from(JSON.stringify({ items })));
  const encrypted_content = prefix + Buffer.from(sealed).toString('base64url');
  return { id: `cmp_${createItemId()}`, type: 'compaction' as const, encrypted_content };
}

/**
 * Returns turn items with the content of compaction items in their place.
 * @throws LambentError `invalid_value` for content that this tenant wasn't given, or that was changed; `vault_unavailable`
 */
export async function expandCompactions(
  turnItems: readonly TurnItem[],
  tenant: string,
  vault: Pick<Vault, 'open'>,
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
  vault: Pick<Vault, 'open'>,
): Promise<StoredItem[]> {
  const content = item['encrypted_content'];
  const prefix = [PREFIX, WHOLE_PREFIX].find((each) => typeof content === 'string' && content.startsWith(each));
  if (typeof content !== 'string' || prefix === undefined) throw unreadableError();
  try {
    const sealed = Buffer.from(content.slice(prefix.length), 'base64url');
    const json = await vault.open(recordName(tenant, prefix), sealed);
    const opened: unknown = JSON.parse(Buffer.from(json).toString('utf8'));
    if (isObject(opened) && Array.isArray(opened['items'])) return opened['items'].filter(isStoredItem);
  } catch (thrown) {
    if (!(thrown instanceof LambentError && thrown.code === 'record_unreadable')) throw thrown;
  }
  throw unreadableError();
}

/** Names a record. A caller can't change the prefix of its content, because the name authenticates it. */
function recordName(tenant: string, prefix: string): RecordName {
  return { tenant, kind: 'compaction', id: '', epoch: 0, field: prefix === WHOLE_PREFIX ? 'whole' : '' };
}

function unreadableError(): LambentError {
  return invalidValueError('input', "The 'encrypted_content' of a compaction item could not be verified.");
}
