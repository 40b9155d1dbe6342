import type { Metrics } from '../core/metrics.ts';
import type { StoreSettings } from '../jobs/settings.ts';
import { createVault, type TenantVault } from '../vault/create-vault.ts';
import { createTenantKeyTable } from '../vault/key-table.ts';
import { createKeyGenerator, createKeyUnwrapper } from '../vault/kms-keys.ts';

interface VaultClients {
  readonly dynamodb: Parameters<typeof createTenantKeyTable>[0];
  readonly kms: Parameters<typeof createKeyGenerator>[0];
}

/** Options of `openVault`. */
export interface VaultAccess {
  /** Whether the function's role may create tenant keys. Only functions that accept requests may. */
  readonly mayCreateKeys: boolean;
}

/** Creates the vault of a function environment. Call it once, so that all of its parts share the cached keys. */
export function openVault(
  { dynamodb, kms }: VaultClients,
  settings: Pick<StoreSettings, 'KEYS_TABLE' | 'KMS_KEY_ID'>,
  metrics: Metrics,
  { mayCreateKeys }: VaultAccess,
): TenantVault {
  const onCall: Parameters<typeof createKeyUnwrapper>[2] = ({ outcome }) => {
    if (outcome === 'throttled' || outcome === 'failed') metrics.publish({ KmsErrors: [1, 'Count'] }, 'stage');
  };
  return createVault({
    table: createTenantKeyTable(dynamodb, settings.KEYS_TABLE, () => {
      metrics.publish({ KeysTableErrors: [1, 'Count'] });
      metrics.publish({ StoreErrors: [1, 'Count'] }, 'stage');
    }),
    unwrap: createKeyUnwrapper(kms, settings.KMS_KEY_ID, onCall),
    ...(mayCreateKeys ? { generate: createKeyGenerator(kms, settings.KMS_KEY_ID, onCall) } : {}),
  });
}
