/**
 * `npm run keys`: creates, lists and revokes tenants' API keys in the access table of a stage or of a laptop.
 * docs/keys.md describes it.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { DynamoDBClient, type DynamoDBClientConfig } from '@aws-sdk/client-dynamodb';
import {
  createKeyAdministration,
  type KeyAdministration,
  type KeyEntry,
} from '../../shared/access/key-administration.ts';
import { isPrincipalId } from '../../shared/access/keys.ts';
import { BUILT_IN_ROLES } from '../../shared/access/roles.ts';
import { hasScope, type Scope, TENANT_SCOPES } from '../../shared/access/scopes.ts';
import { LambentError } from '../../shared/core/errors.ts';
import { createTenantKeyTable } from '../../shared/vault/key-table.ts';
import { describeAwsError } from './aws-error.ts';
import { parseOptions, runCommandLine, suggestName, UsageError } from './command-line.ts';
import { resolveStage } from './stage.ts';

const USAGE = `usage:
  npm run keys -- create --tenant TENANT --stage STAGE [--region REGION] [--name ID] [--scopes SCOPES] [--expires WHEN]
  npm run keys -- list --tenant TENANT --stage STAGE [--region REGION]
  npm run keys -- revoke ID --tenant TENANT --stage STAGE [--region REGION]

  --local       instead of --stage: the laptop, while npm start runs
  --region      default: the region of the stage in stages.json, else in serverless.yml
  --name ID     the key's id in logs; default: the tenant and a random number
  --scopes      scopes or roles (${Object.keys(BUILT_IN_ROLES).join(', ')}), separated by commas; default: member
  --expires     a number of days (90d), a date (2027-01-31, midnight UTC) or a time (2027-01-31T12:00:00Z); default: never`;

const COMMANDS = ['create', 'list', 'revoke'];
const OPTIONS = {
  tenant: { type: 'string' },
  stage: { type: 'string' },
  region: { type: 'string' },
  local: { type: 'boolean', default: false },
  name: { type: 'string' },
  scopes: { type: 'string' },
  expires: { type: 'string' },
} as const;

export interface KeysContext {
  /** Text of the file `.local/env`; undefined if `npm start` doesn't run. */
  readonly localEnvironment: () => Promise<string | undefined>;
  readonly createClient: (config: DynamoDBClientConfig) => DynamoDBClient;
  /** Prints the result, which a script may read. */
  readonly print: (line: string) => void;
  /** Prints a line about the result. */
  readonly note: (line: string) => void;
  /** Returns the time in epoch milliseconds. */
  readonly now: () => number;
}

/**
 * Runs one command.
 * @throws UsageError for invalid arguments, before anything is changed
 * @throws Error with one line of explanation if a request to DynamoDB fails
 */
export async function runKeysCommand(args: readonly string[], context: KeysContext): Promise<void> {
  const { positionals, values } = parseOptions(args, OPTIONS);
  const [command, ...operands] = positionals;
  if (command === undefined) throw new UsageError('the command is missing');
  if (!COMMANDS.includes(command))
    throw new UsageError(`unknown command '${command}'${suggestName(command, COMMANDS)}`);
  const keyId = checkOperands(command, operands);
  if (command !== 'create') refuseCreateOptions(command, values);
  const tenant = checkId('--tenant', values.tenant);
  const scopes = parseScopes(values.scopes);
  const expiresAt = parseExpiry(values.expires, context.now());
  const name = values.name === undefined ? `${tenant.slice(0, 50)}-${randomBytes(4).toString('hex')}` : values.name;
  const target = await resolveTarget(values, context);
  try {
    if (command === 'create') {
      const record = { tenant, keyId: checkId('--name', name), scopes };
      await create(target, expiresAt === undefined ? record : { ...record, expiresAt }, context);
    } else if (command === 'list') await list(target, tenant, context);
    else await revoke(target, tenant, keyId, context);
  } catch (thrown) {
    throw explainError(thrown, target);
  } finally {
    target.client.destroy();
  }
}

function checkOperands(command: string, operands: readonly string[]): string {
  if (command !== 'revoke') {
    if (operands.length > 0) throw new UsageError(`${command} takes only options, not '${operands[0]}'`);
    return '';
  }
  if (operands.length > 1) throw new UsageError(`revoke takes one key id, not ${operands.length}`);
  // An id that was written by hand may have other characters, and must be revocable.
  if (operands[0] === undefined || operands[0] === '') throw new UsageError("the key's id is missing");
  return operands[0];
}

function refuseCreateOptions(command: string, values: Readonly<Record<string, unknown>>): void {
  for (const option of ['name', 'scopes', 'expires'])
    if (values[option] !== undefined) throw new UsageError(`${command} does not take --${option}`);
}

function checkId(argument: string, value: string | undefined): string {
  if (value === undefined || value === '') throw new UsageError(`${argument} is missing`);
  if (isPrincipalId(value)) return value;
  const rule = 'a letter or digit, then up to 63 letters, digits, . _ or -';
  throw new UsageError(`${argument} has an invalid value: '${value}' (${rule})`);
}

/** Returns a tenant's scopes of these names, which may be those of roles and of earlier versions' scopes. */
function parseScopes(text = 'member'): readonly Scope[] {
  const roles = new Map<string, readonly string[]>(
    Object.entries(BUILT_IN_ROLES).map(([name, { scopes }]) => [name, scopes]),
  );
  const named = text.split(',').map((word) => word.trim());
  const select = (names: readonly string[]) => TENANT_SCOPES.filter((scope) => hasScope(names, scope));
  const expand = (name: string) => select(roles.get(name) ?? [name]);
  const unknown = named.find((name) => expand(name).length === 0);
  if (unknown === undefined) return select(named.flatMap(expand));
  const known = [...TENANT_SCOPES, ...roles.keys()];
  throw new UsageError(`unknown scope '${unknown}'; the scopes and roles are ${known.join(', ')}`);
}

/** Returns epoch seconds. */
function parseExpiry(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined;
  const [, days] = /^(\d{1,5})d$/.exec(text) ?? [];
  const isTime = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2}))?$/.test(text);
  const time = days === undefined ? (isTime ? Date.parse(text) : Number.NaN) : now + Number(days) * 86_400_000;
  if (Number.isNaN(time)) throw new UsageError(`--expires has an invalid value: '${text}' (90d, 2027-01-31 or a time)`);
  if (time <= now) throw new UsageError(`--expires is in the past: ${new Date(time).toISOString()}`);
  return Math.floor(time / 1000);
}

interface Target {
  readonly client: DynamoDBClient;
  readonly accessTable: string;
  readonly keysTable: string;
  /** `the stage dev in eu-west-1` */
  readonly description: string;
}

type TargetOptions = {
  readonly local: boolean;
  readonly stage?: string | undefined;
  readonly region?: string | undefined;
};

async function resolveTarget(options: TargetOptions, context: KeysContext): Promise<Target> {
  if (options.local) {
    if (options.stage !== undefined || options.region !== undefined)
      throw new UsageError('--local takes neither --stage nor --region');
    return resolveLocalTarget(context);
  }
  if (options.stage === undefined) throw new UsageError('set --stage, or --local for the laptop');
  const { name, region, prefix } = await resolveStage(options);
  return {
    client: context.createClient({ region }),
    accessTable: `${prefix}-access`,
    keysTable: `${prefix}-keys`,
    description: `the stage ${name} in ${region}`,
  };
}

/** Returns the tables of the laptop, with the endpoint and credentials of `.local/env`. */
async function resolveLocalTarget({ localEnvironment, createClient }: KeysContext): Promise<Target> {
  const text = await localEnvironment();
  if (text === undefined) throw new Error('Lambent does not run here: start it with npm start (.local/env is missing)');
  const variables = Object.fromEntries(
    [...text.matchAll(/^export (\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]),
  );
  const read = (name: string): string => {
    const value = variables[name];
    if (value === undefined) throw new Error(`.local/env has no ${name}: restart npm start`);
    return value;
  };
  const client = createClient({
    endpoint: read('AWS_ENDPOINT_URL_DYNAMODB'),
    region: read('AWS_REGION'),
    credentials: { accessKeyId: read('AWS_ACCESS_KEY_ID'), secretAccessKey: read('AWS_SECRET_ACCESS_KEY') },
  });
  return { client, accessTable: read('ACCESS_TABLE'), keysTable: read('KEYS_TABLE'), description: 'the laptop' };
}

function administer({ client, accessTable, keysTable }: Target): KeyAdministration {
  return createKeyAdministration(client, accessTable, createTenantKeyTable(client, keysTable));
}

async function create(
  target: Target,
  record: Parameters<KeyAdministration['create']>[0],
  { print, note }: KeysContext,
) {
  const key = await administer(target).create(record);
  const { tenant, keyId, scopes, expiresAt } = record;
  const expiry = expiresAt === undefined ? 'never expires' : `expires at ${formatTime(expiresAt)}`;
  note(`Created the key ${keyId} of ${tenant} for ${target.description}: ${scopes.join(', ')}; it ${expiry}.`);
  note("Store it now: it can't be shown again.");
  print(key);
}

async function list(target: Target, tenant: string, { print, note, now }: KeysContext): Promise<void> {
  const entries = await administer(target).list(tenant);
  if (entries.length === 0) return note(`${tenant} has no key in ${target.description}.`);
  const width = Math.max(...entries.map(({ keyId }) => keyId.length));
  for (const entry of entries) print(`${entry.keyId.padEnd(width)}  ${describeEntry(entry, now())}`);
}

function describeEntry({ record }: KeyEntry, now: number): string {
  if (record === undefined) return 'not valid: the authorizer refuses it';
  const { scopes, expiresAt } = record;
  if (expiresAt === undefined) return `${scopes.join(', ')}; never expires`;
  return `${scopes.join(', ')}; ${expiresAt * 1000 <= now ? 'expired' : 'expires'} at ${formatTime(expiresAt)}`;
}

async function revoke(target: Target, tenant: string, keyId: string, { note }: KeysContext): Promise<void> {
  const administration = administer(target);
  const count = await administration.revoke(tenant, keyId);
  if (count === 0) {
    const known = (await administration.list(tenant)).map((entry) => entry.keyId);
    throw new Error(`${tenant} has no key ${keyId} in ${target.description}${suggestName(keyId, known)}`);
  }
  note(`Revoked ${count === 1 ? `the key ${keyId}` : `${count} keys with the id ${keyId}`} of ${tenant}.`);
  note('API Gateway caches the authorizer: it may work for up to authorizerTtlSeconds more (30 s by default).');
}

const formatTime = (epochSeconds: number): string => new Date(epochSeconds * 1000).toISOString();

function explainError(thrown: unknown, { description, accessTable, keysTable }: Target): unknown {
  const cause = thrown instanceof LambentError && thrown.cause instanceof Error ? thrown.cause : thrown;
  if (cause instanceof LambentError || !(cause instanceof Error)) return cause;
  if (cause.name === 'ResourceNotFoundException')
    return new Error(
      `${description} has no table ${accessTable} or ${keysTable}: check --stage, --region and the account`,
    );
  // Node.js's network errors have a code, and our own errors don't.
  const isOwn = cause.name === 'Error' && !('code' in cause);
  return isOwn ? cause : new Error(`${description}: ${describeAwsError(cause)}`, { cause });
}

if (import.meta.main) {
  const readLocalEnvironment = () => readFile(`${import.meta.dirname}/../../.local/env`, 'utf8').catch(() => undefined);
  await runCommandLine(
    (args) =>
      runKeysCommand(args, {
        localEnvironment: readLocalEnvironment,
        createClient: (config) => new DynamoDBClient(config),
        print: console.log,
        note: console.error,
        now: Date.now,
      }),
    USAGE,
  );
}
