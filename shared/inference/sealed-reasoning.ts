import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { RecordName, Vault } from '../vault/vault.ts';
import { type ContinuedReasoning, SEALED } from './continuation-seal.ts';
import type { Continuation } from './generation.ts';

/** Opens the vault, which most requests don't need. */
export type OpenVault<Use extends keyof Vault = 'seal' | 'openReceived'> = () => Promise<Pick<Vault, Use>>;

/** Seals reasoning as `ContinuationSeal.seal` does. */
export async function sealReasoning(
  { text, continuation }: ContinuedReasoning,
  tenant: string,
  vault: Pick<Vault, 'seal'>,
): Promise<Continuation> {
  const sealed = await vault.seal(recordName(tenant), Buffer.from(JSON.stringify({ text, continuation })));
  return { provider: SEALED, data: Buffer.from(sealed).toString('base64url') };
}

/** Opens reasoning as `ContinuationSeal.open` does. */
export async function openReasoning(
  { data }: Continuation,
  tenant: string,
  openVault: OpenVault<'openReceived'>,
): Promise<ContinuedReasoning | undefined> {
  if (typeof data !== 'string') return undefined;
  const vault = await openVault();
  try {
    const opened = await vault.openReceived(recordName(tenant), Buffer.from(data, 'base64url'));
    return toReasoning(JSON.parse(Buffer.from(opened).toString('utf8')));
  } catch (thrown) {
    if (thrown instanceof LambentError && thrown.code === 'record_unreadable') return undefined;
    throw thrown;
  }
}

function recordName(tenant: string): RecordName {
  return { tenant, kind: 'continuation', id: '', epoch: 0, field: '' };
}

function toReasoning(value: unknown): ContinuedReasoning | undefined {
  if (!isObject(value) || typeof value['text'] !== 'string' || !isObject(value['continuation'])) return undefined;
  const { provider, data } = value['continuation'];
  return typeof provider === 'string' ? { text: value['text'], continuation: { provider, data } } : undefined;
}
