/**
 * Lambda authorizer: resolves a key, or a token of a trusted issuer, to its principal. Denies unknown ones, and those of erased
 * tenants: what stores nothing would serve them otherwise. The functions refuse an expired key, so that each call with it is recorded.
 */
import type { APIGatewayAuthorizerResult, APIGatewayRequestAuthorizerEvent } from 'aws-lambda';
import * as v from 'valibot';
import { hasKeyForm } from '../shared/access/api-key.ts';
import { type AuthorizedCaller, toAuthorizerContext } from '../shared/access/authorizer-context.ts';
import { createFederation } from '../shared/access/federation/federation.ts';
import { createIssuerFinder } from '../shared/access/federation/issuers.ts';
import { findBearerToken } from '../shared/access/federation/token.ts';
import { createUserFinder } from '../shared/access/federation/users.ts';
import { findHold } from '../shared/access/holds.ts';
import { createAllowPolicy, createDenyPolicy } from '../shared/access/iam-policy.ts';
import { createKeyCache } from '../shared/access/key-cache.ts';
import { createKeyTable } from '../shared/access/key-table.ts';
import { getKeyPartition, type KeyRecord } from '../shared/access/keys.ts';
import { joinPolicy } from '../shared/access/policy-json.ts';
import { createPolicyTable, createServiceAccountPolicies } from '../shared/access/policy-table.ts';
import { hasExpired } from '../shared/access/principal.ts';
import { collectKeyValues, isCalledEachTime, parseKey } from '../shared/access/request-keys.ts';
import { reportExpiry } from '../shared/audit/expiring-key.ts';
import { createDynamoDBClient } from '../shared/aws/dynamodb.ts';
import { readConfig } from '../shared/core/config.ts';
import { createTelemetry, type Telemetry } from '../shared/core/telemetry.ts';
import { createEventPipeline } from '../shared/lambda/event-pipeline.ts';
import { createTenantKeyTable } from '../shared/vault/key-table.ts';

const config = readConfig({
  ACCESS_TABLE: v.string(),
  KEYS_TABLE: v.string(),
  /** Set on a laptop only: issuers may have the address 127.0.0.1. No deployed stage has this variable. */
  LOOPBACK_ISSUERS: v.optional(v.literal('allowed')),
  /** Seconds for which a key is cached where API Gateway caches no policy. */
  KEY_TTL_SECONDS: v.optional(v.pipe(v.string(), v.toNumber()), '0'),
  /** Whether keys of any form are looked up, such as those made by hand. */
  CUSTOM_KEYS: v.optional(v.picklist(['true', 'false']), 'false'),
});
const processTelemetry = createTelemetry(config);
const client = createDynamoDBClient();
const keys = createKeyTable(client, config.ACCESS_TABLE);
const issuers = createIssuerFinder({ client, name: config.ACCESS_TABLE });
const users = createUserFinder({ client, name: config.ACCESS_TABLE });
const federation = createFederation(issuers, config.LOOPBACK_ISSUERS !== undefined, users);
const policies = createPolicyTable(client, config.ACCESS_TABLE);
const serviceAccounts = createServiceAccountPolicies(client, config.ACCESS_TABLE);
const tenantKeys = createTenantKeyTable(client, config.KEYS_TABLE);
const cache = createKeyCache(findCaller, config.KEY_TTL_SECONDS * 1000);

const allowsCustomKeys = config.CUSTOM_KEYS === 'true';

/** The most values of the header that are looked up. A request with more of them gets status 401. */
const MOST_VALUES = 4;

/** API Gateway responds with status 401 to an authorizer that throws exactly this text, and caches nothing. */
const UNCACHED_DENIAL = 'Unauthorized';

export const handler = createEventPipeline<APIGatewayRequestAuthorizerEvent, APIGatewayAuthorizerResult>(
  processTelemetry,
  async (event, context) => {
    // The id under which the function logs the call, if this invocation allows it.
    const requestId = event.requestContext?.requestId;
    if (requestId !== undefined) context.identify(requestId, {});
    const { logger, metrics } = context.telemetry;
    const values = collectKeyValues(event);
    const isAmbiguous = values.length > 1;
    if (isAmbiguous) logger.info('denied', { reason: 'more than one key' });
    if (values.length > MOST_VALUES) throw new Error(UNCACHED_DENIAL);

    const find = isCalledEachTime(event) ? cache : findCaller;
    const callers = await Promise.all(values.map((value) => find(value, context.telemetry)));
    const caller = callers.find((each) => each !== undefined);
    const isExpired = caller !== undefined && hasExpired(caller);
    if (caller === undefined || isExpired) {
      const reason = isExpired ? 'expired key' : values.some(isCredential) ? 'unknown key' : 'no key';
      if (!isAmbiguous) logger.info('denied', { reason });
      if (reason !== 'no key') metrics.publish({ KeysRefused: [1, 'Count'] }, 'stage');
    }
    if (caller === undefined) return createDenyPolicy(event.methodArn);
    // API Gateway caches a policy under one of the values, and doesn't say which. An allowing policy would let in a
    // value that isn't a key; a denying one would lock out the key.
    if (isAmbiguous) throw new Error(UNCACHED_DENIAL);
    return createAllowPolicy(event.methodArn, `${caller.tenant}:${caller.keyId}`, toAuthorizerContext(caller));
  },
);

/** Finds the caller with the key or token in a header's value, and what restricts it. */
async function findCaller(value: string, telemetry: Telemetry): Promise<AuthorizedCaller | undefined> {
  const token = findBearerToken(value);
  const record = await (token === undefined ? findKey(value, telemetry) : findTokenRecord(token, telemetry));
  if (record === undefined) return undefined;
  const { tenant, keyId, scopes, expiresAt } = record;
  const [history, { archived, holds, account, project }, key] = await Promise.all([
    tenantKeys.read(tenant),
    policies.find(tenant),
    record.isOfServiceAccount ? serviceAccounts.find(tenant, keyId) : record.policy,
  ]);
  if (history?.state === 'deleted') return undefined;
  return {
    tenant,
    keyId,
    scopes,
    expiresAt,
    archived,
    heldUntil: findHold(holds, keyId, Date.now())?.until,
    policy: joinPolicy({ account, project, key }),
  };
}

/** Returns whether a header's value has a key or a token, known or not. */
function isCredential(value: string): boolean {
  return parseKey(value) !== undefined || findBearerToken(value) !== undefined;
}

/** What a key or token may do. */
interface FoundRecord extends KeyRecord {
  /** True for a token of a service account, whose restrictions are not in the record. */
  readonly isOfServiceAccount?: boolean;
}

async function findKey(value: string, telemetry: Telemetry): Promise<FoundRecord | undefined> {
  const key = parseKey(value);
  if (key === undefined || !(allowsCustomKeys || hasKeyForm(key))) return undefined;
  const record = await keys.find(key);
  if (record === undefined) return undefined;
  if (hasExpired(record)) return { ...record, scopes: [] };
  if (record.federated === undefined) {
    await reportExpiry(getKeyPartition(key), record, { keys, now: Date.now }, telemetry);
    return record;
  }
  // An access token that was issued by rules has the scopes that these still grant.
  const granted = await federation.listGranted(record.federated);
  const scopes = record.scopes.filter((scope) => granted.includes(scope));
  return scopes.length === 0 ? undefined : { ...record, scopes, isOfServiceAccount: true };
}

/** Finds what a token may do, as if it were a key of its service account or user. */
async function findTokenRecord(token: string, { logger }: Telemetry): Promise<FoundRecord | undefined> {
  const caller = await federation.authenticate(token);
  if (typeof caller === 'string') {
    logger.info('token refused', { reason: caller });
    return undefined;
  }
  const { tenant, serviceAccount, scopes, expiresAt, rules, subject, policy } = caller;
  logger.info('token accepted', {
    tenant,
    keyId: serviceAccount,
    rules: rules.map(({ id }) => id).join(' '),
    subject,
  });
  return { tenant, keyId: serviceAccount, scopes, expiresAt, policy, isOfServiceAccount: rules.length > 0 };
}
