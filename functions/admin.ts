/** Administers projects, their keys and what they may do: OpenAI's administration API. */
import { join } from 'node:path';
import * as v from 'valibot';
import { createPolicyAdministration } from '../shared/access/policy-administration.ts';
import { createAdministrationRoutes } from '../shared/admin/routes.ts';
import { createHttpApi, httpApiSettings } from '../shared/api/http-api.ts';
import { ADMIN_ROUTES } from '../shared/api/route-table.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { createKmsClient } from '../shared/aws/kms.ts';
import { readConfig } from '../shared/core/config.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { replySettings } from '../shared/jobs/settings.ts';
import { matchPaths } from '../shared/lambda/path-router.ts';
import { createTenantKeyTable } from '../shared/vault/key-table.ts';
import { createKeyGenerator, createKeyRewrapper, createKeyUnwrapper } from '../shared/vault/kms-keys.ts';
import { createWrappingKeys } from '../shared/vault/wrapping-key.ts';

const config = readConfig({
  ...httpApiSettings,
  ...replySettings,
  /** Path of `models.json`. Default: the file that is packaged with the code. */
  MODELS_FILE: v.optional(v.string(), join(import.meta.dirname, 'models.json')),
  ACCESS_TABLE: v.string(),
  ADMIN_TABLE: v.string(),
  KEYS_TABLE: v.string(),
  KMS_KEY_ID: v.string(),
  /** ARNs of the external keys that the functions may use, separated by commas. */
  EXTERNAL_KEYS: v.optional(v.string(), ''),
  /** The file of the authorities of clients. Empty without mutual TLS. */
  DOMAIN_TRUSTSTORE: v.optional(v.string(), ''),
  /** As in functions/authorize.ts. */
  LOOPBACK_ISSUERS: v.optional(v.literal('allowed')),
  USAGE_TABLE: v.string(),
});
const registry = readModelRegistry(config.MODELS_FILE);
const client = createDynamoDBClient();
const kms = createKmsClient();
const tenantKeys = createTenantKeyTable(client, config.KEYS_TABLE);
const api = {
  table: { client, name: config.ADMIN_TABLE },
  access: { client, name: config.ACCESS_TABLE },
  policies: createPolicyAdministration(client, config.ACCESS_TABLE),
  tenantKeys,
  wrappingKeys: createWrappingKeys({
    table: tenantKeys,
    generate: createKeyGenerator(kms, config.KMS_KEY_ID),
    unwrap: createKeyUnwrapper(kms, config.KMS_KEY_ID),
    rewrap: createKeyRewrapper(kms, config.KMS_KEY_ID),
    now: Date.now,
  }),
  keyId: config.KMS_KEY_ID,
  externalKeys: config.EXTERNAL_KEYS.split(',').filter((arn) => arn !== ''),
  hasMutualTls: config.DOMAIN_TRUSTSTORE !== '',
  isLoopbackIssuerAllowed: config.LOOPBACK_ISSUERS !== undefined,
  models: Object.keys(registry.models),
  moderations: Object.keys(registry.moderations),
  guardrails: Object.keys(registry.guardrails),
  replyQueues: Object.keys(config.REPLY_QUEUES),
  usage: { client, name: config.USAGE_TABLE },
  now: Date.now,
};

export const handler = createHttpApi({
  telemetry: createTelemetry(config),
  corsOrigin: config.CORS_ORIGIN,
  table: ADMIN_ROUTES,
  routes: createAdministrationRoutes(api),
}).use(matchPaths(Object.keys(ADMIN_ROUTES)));
