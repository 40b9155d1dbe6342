import * as v from 'valibot';
import { marshall } from '../../aws/attributes.ts';
import { getItem, putItem, type Table } from '../../aws/table.ts';
import { LambentError } from '../../core/errors.ts';
import { omitUndefined } from '../../core/objects.ts';
import type { TenantKeyTable } from '../../vault/key-table.ts';
import { generateKey } from '../api-key.ts';
import { findHold } from '../holds.ts';
import { createKeyItem } from '../keys.ts';
import { getProjectPartition, parsePolicyItem } from '../policy-table.ts';
import { fingerprintRule } from './federated-rules.ts';
import type { FederatedCaller, Federation } from './federation.ts';

/** Seconds for which an access token is valid. */
export const LIFETIME_SECONDS = 3_600;

const TYPE = 'urn:ietf:params:oauth:token-type:';
const ACCESS_TOKEN = `${TYPE}access_token`;
const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';

const id = v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(128)));
/** The parameters of a request for an access token. @see https://www.rfc-editor.org/rfc/rfc8693#section-2.1 */
export const tokenRequestSchema = v.object({
  grant_type: v.literal(GRANT, `must be ${GRANT}`),
  subject_token: v.string('must be a token'),
  subject_token_type: v.picklist([`${TYPE}jwt`, `${TYPE}id_token`, ACCESS_TOKEN], 'must be the type of a JWT'),
  requested_token_type: v.optional(v.literal(ACCESS_TOKEN, `must be ${ACCESS_TOKEN}`)),
  scope: v.optional(v.pipe(v.string(), v.maxLength(1_024))),
  // OpenAI's parameters.
  identity_provider_id: id,
  service_account_id: id,
  actor_token: v.optional(v.never('is not supported')),
});

/** An access token that was issued. */
export interface IssuedToken {
  readonly caller: FederatedCaller;
  /** The response of the token endpoint. @see https://www.rfc-editor.org/rfc/rfc8693#section-2.2.1 */
  readonly response: TokenResponse;
}

export interface TokenResponse {
  readonly access_token: string;
  readonly issued_token_type: string;
  readonly token_type: 'Bearer';
  /** Seconds. */
  readonly expires_in: number;
  /** Scopes, separated by spaces. */
  readonly scope: string;
}

/** What an exchange depends on. */
export interface TokenExchange {
  readonly federation: Federation;
  readonly access: Table;
  readonly tenantKeys: Pick<TenantKeyTable, 'read'>;
}

/**
 * Exchanges the token of a trusted issuer for an access token of its service account, which is stored like a key: by its hash.
 * The authorizer accepts it as long as a rule that admitted the token does.
 * @param body the parameters of the request
 * @param now epoch milliseconds
 * @throws LambentError `invalid_value` if the request or its token is refused; as `Federation.authenticate`, DynamoDB's errors and `vault_unavailable`
 * @see https://www.rfc-editor.org/rfc/rfc8693
 */
export async function exchangeToken(body: unknown, exchange: TokenExchange, now: number): Promise<IssuedToken> {
  const request = parseRequest(body);
  const caller = await exchange.federation.authenticate(
    request.subject_token,
    omitUndefined({ providerId: request.identity_provider_id, serviceAccount: request.service_account_id }),
  );
  if (typeof caller === 'string') throw invalidParameterError('subject_token', `is refused: ${caller}`);
  const obstacle = await findObstacle(caller, exchange, now);
  if (obstacle !== undefined) throw invalidParameterError('subject_token', `is refused: ${obstacle}`);
  const { tenant, serviceAccount, issuer, audience } = caller;
  if (caller.scopes.length === 0) throw invalidParameterError('subject_token', 'is refused: its rules grant no scope');
  const scopes = narrow(caller.scopes, request.scope);
  const token = generateKey('accessToken');
  const expiresAt = Math.floor(now / 1000) + LIFETIME_SECONDS;
  const federated = { issuer, audience, rules: caller.rules.map(fingerprintRule) };
  await putItem(exchange.access, createKeyItem(token, { tenant, keyId: serviceAccount, scopes, expiresAt, federated }));
  const response: TokenResponse = {
    access_token: token,
    issued_token_type: ACCESS_TOKEN,
    token_type: 'Bearer',
    expires_in: LIFETIME_SECONDS,
    scope: scopes.join(' '),
  };
  return { caller, response };
}

/** Returns why the authorizer would refuse all tokens of a service account, or undefined if it wouldn't. */
async function findObstacle(
  { tenant, serviceAccount }: FederatedCaller,
  { access, tenantKeys }: TokenExchange,
  now: number,
): Promise<string | undefined> {
  const [history, item] = await Promise.all([
    tenantKeys.read(tenant),
    getItem(access, marshall({ pk: getProjectPartition(tenant) })),
  ]);
  const { status, holds } = parsePolicyItem(item);
  if (history?.state === 'deleted') return 'the tenant was erased';
  if (status === 'archived') return 'the project is archived';
  return findHold(holds, serviceAccount, now) && 'the service account is held';
}

function parseRequest(body: unknown): v.InferOutput<typeof tokenRequestSchema> {
  const result = v.safeParse(tokenRequestSchema, body);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const param = v.getDotPath(issue) ?? 'body';
  if (issue.input !== undefined) throw invalidParameterError(param, issue.message);
  throw new LambentError('missing_required_parameter', `${param} is missing.`, { param });
}

/** Returns the scopes that were asked for, separated by spaces; all if none were. */
function narrow(scopes: readonly string[], wanted: string | undefined): readonly string[] {
  const names = wanted?.split(' ').filter((name) => name !== '') ?? [];
  const missing = names.find((name) => !scopes.includes(name));
  if (missing !== undefined)
    throw invalidParameterError('scope', `has '${missing.slice(0, 64)}', which the token's rules don't grant`);
  return names.length === 0 ? scopes : scopes.filter((scope) => names.includes(scope));
}

function invalidParameterError(param: string, reason: string): LambentError {
  return new LambentError('invalid_value', `${param} ${reason}.`, { param });
}
