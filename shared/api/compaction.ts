import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { ItemIdGenerator, StoredItem } from '../openai/responses/stored-items.ts';
import { isStoredItem } from '../openai/responses/stored-items.ts';
import { invalidValueError } from '../openai/validation.ts';
import type { RecordName, Vault } from '../vault/vault.ts';
import type { TurnItem } from './turn-items.ts';

/** The format's name and version. */
const PREFIX = 'lambentc1.';

/** Returns whether an item stands for a compacted conversation. */
export function isCompaction(item: { readonly type?: unknown }): boolean {
  return item.type === 'compaction';
}

/**
 * Returns the compaction item that stands for `items`. Only its tenant can send it back, and nothing opens it after the
 * tenant was erased.
 * @throws LambentError as `Vault.seal` does
 */
export async function sealCompaction(
  items: readonly StoredItem[],
  tenant: string,
  vault: Pick<Vault, 'seal'>,
  createItemId: ItemIdGenerator,
) {
  const sealed = await vault.seal(recordName(tenant), Buffer.from(JSON.stringify({ items })));
  const encrypted_content = PREFIX + Buffer.from(sealed).toString('base64url');
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
): Promise<TurnItem[]> {
  const expanded: TurnItem[] = [];
  for (const turnItem of turnItems) {
    if (!isCompaction(turnItem.item)) expanded.push(turnItem);
    else for (const item of await openCompaction(turnItem.item, tenant, vault)) expanded.push({ item });
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
  if (typeof content !== 'string' || !content.startsWith(PREFIX)) throw unreadableError();
  try {
    const sealed = Buffer.from(content.slice(PREFIX.length), 'base64url');
    const opened: unknown = JSON.parse(Buffer.from(await vault.open(recordName(tenant), sealed)).toString('utf8'));
    if (isObject(opened) && Array.isArray(opened['items'])) return opened['items'].filter(isStoredItem);
  } catch (thrown) {
    if (!(thrown instanceof LambentError && thrown.code === 'record_unreadable')) throw thrown;
  }
  throw unreadableError();
}

function recordName(tenant: string): RecordName {
  return { tenant, kind: 'compaction', id: '', epoch: 0, field: '' };
}

function unreadableError(): LambentError {
  return invalidValueError('input', "The 'encrypted_content' of a compaction item could not be verified.");
}
