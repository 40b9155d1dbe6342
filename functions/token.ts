/** Exchanges tokens of trusted issuers for access tokens: OAuth 2.0 Token Exchange. Anybody may call it. */
import * as v from 'valibot';
import { exchangeToken } from '../shared/access/federation/exchange.ts';
import { createFederation } from '../shared/access/federation/federation.ts';
import { createIssuerFinder } from '../shared/access/federation/issuers.ts';
import { httpApiSettings } from '../shared/api/http-api.ts';
import { OAUTH_FORMAT } from '../shared/api/oauth-format.ts';
import { logAct } from '../shared/audit/act.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { readConfig } from '../shared/core/config.ts';
import { parseFormBody } from '../shared/core/form-body.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { createHttpPipeline } from '../shared/lambda/http-pipeline.ts';
import { createTenantKeyTable } from '../shared/vault/key-table.ts';

const config = readConfig({
  ...httpApiSettings,
  ACCESS_TABLE: v.string(),
  KEYS_TABLE: v.string(),
  /** As in functions/authorize.ts. */
  LOOPBACK_ISSUERS: v.optional(v.literal('allowed')),
});
const access = { client: createDynamoDBClient(), name: config.ACCESS_TABLE };
const tenantKeys = createTenantKeyTable(access.client, config.KEYS_TABLE);
const federation = createFederation(createIssuerFinder(access), config.LOOPBACK_ISSUERS !== undefined);

export const handler = createHttpPipeline<undefined>({
  telemetry: createTelemetry(config),
  corsOrigin: config.CORS_ORIGIN,
  format: OAUTH_FORMAT,
  // The token in the body is the caller's credential.
  authorization: { authorize: async () => undefined, describeCaller: () => ({}) },
  routes: {
    'POST /v1/oauth/token': {
      parseBody: parseFormBody,
      async run({ body, telemetry }) {
        const { caller, response } = await exchangeToken(body, { federation, access, tenantKeys }, Date.now());
        const { tenant, serviceAccount, subject, rules } = caller;
        telemetry.logger.annotate({ tenant, keyId: serviceAccount });
        const act = { type: 'tenant.workload_identity.access_token.issued', objectId: serviceAccount, project: tenant };
        logAct(telemetry, { ...act, details: { subject, rules: rules.map(({ id }) => id) } });
        return { json: response };
      },
    },
  },
});
