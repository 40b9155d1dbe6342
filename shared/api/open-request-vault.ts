import { createDynamoDBClient } from '../aws/dynamodb.ts';
import { createKmsClient } from '../aws/kms.ts';
import type { Metrics } from '../core/metrics.ts';
import { openVault } from './open-vault.ts';

/**
 * Creates the vault of a function that accepts requests, with clients of its own. Import this file only when a request
 * needs it, as `open-api-state.ts`.
 */
export function openRequestVault(settings: Parameters<typeof openVault>[1], metrics: Metrics) {
  const dynamodb = createDynamoDBClient();
  return openVault({ dynamodb, kms: createKmsClient() }, settings, metrics, { mayCreateKeys: true });
}
