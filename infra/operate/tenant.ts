/**
 * An operator's commands on tenants, which use the shell's AWS credentials: `npm run tenant -- erase NAME` and `npm run
 * tenant -- replay-tombstones --from TABLE --to TABLE`. They list the changes, and make them only with `--yes`.
 * docs/restore-and-erase.md describes when to use them.
 */
import { DynamoDBClient, type DynamoDBClientConfig } from '@aws-sdk/client-dynamodb';
import { LambdaClient, type LambdaClientConfig } from '@aws-sdk/client-lambda';
import { STSClient, type STSClientConfig } from '@aws-sdk/client-sts';
import { deleteItem } from '../../shared/aws/table.ts';
import { toLambentError } from '../../shared/core/errors.ts';
import { getStoragePartition } from '../../shared/limits/stored-amounts.ts';
import { createTenantKeyTable } from '../../shared/vault/key-table.ts';
import { scanTombstones } from '../../shared/vault/tombstones.ts';
import { listGrants, revokeGrant } from './access.ts';
import { describeAwsError } from './aws-error.ts';
import { parseOptions, runCommandLine, UsageError } from './command-line.ts';
import { recordAct } from './record-act.ts';
import { checkRegionOption, resolveStage } from './stage.ts';

const USAGE = `usage:
  npm run tenant -- erase NAME --stage STAGE [--region REGION] [--yes]
  npm run tenant -- replay-tombstones --from TABLE --to TABLE --stage STAGE [--region REGION] [--yes]

  --yes         makes the changes; without it, they are only listed
  --stage       for erase, default: the tables that KEYS_TABLE, ACCESS_TABLE and LIMITS_TABLE name, and the
                function record that RECORD_FUNCTION names
  --region      default: that of the stage in stages.json, else in serverless.yml; without a stage, erase uses the shell's`;

const TENANT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** DynamoDB's rule for table names. */
const TABLE = /^[A-Za-z0-9._-]{3,255}$/;

/** Lambda's rule for names of functions. */
const FUNCTION = /^[A-Za-z0-9_-]{1,64}$/;

const OPTIONS = {
  stage: { type: 'string' },
  region: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
  yes: { type: 'boolean', default: false },
} as const;

export interface CommandContext {
  readonly createClient: (config: DynamoDBClientConfig) => DynamoDBClient;
  readonly createLambda: (config: LambdaClientConfig) => LambdaClient;
  readonly createSts: (config: STSClientConfig) => STSClient;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly print: (line: string) => void;
  /** Returns the time in epoch milliseconds. */
  readonly now: () => number;
}

/**
 * Runs one command.
 * @throws UsageError for invalid arguments, before anything is changed
 * @throws Error with the table's name and the reason if DynamoDB fails
 */
export async function runTenantCommand(args: readonly string[], context: CommandContext): Promise<void> {
  const { positionals, values } = parseOptions(args, OPTIONS);
  const [command, name, ...more] = positionals;
  const { from, to, yes } = values;
  if (command === 'erase') {
    if (more.length > 0) throw new UsageError(`erase takes one tenant, not ${positionals.length - 1}`);
    if (from !== undefined || to !== undefined) throw new UsageError('erase takes neither --from nor --to');
    const tenant = checkName('the tenant', name, TENANT);
    const { region, recordFunction, ...tables } = await resolveTarget(values, context.environment);
    await withClient(region, context, (client) => erase(client, tenant, tables, yes, context));
    if (yes) await recordErasure(tenant, { region, recordFunction, hasStage: values.stage !== undefined }, context);
    return;
  }
  if (command === 'replay-tombstones') {
    if (name !== undefined) throw new UsageError(`replay-tombstones takes only options, not '${name}'`);
    const tables = { from: checkName('--from', from, TABLE), to: checkName('--to', to, TABLE) };
    if (tables.from === tables.to) throw new UsageError('--from and --to name the same table');
    const region = await resolveReplayRegion(values);
    return withClient(region, context, (client) => replayTombstones(client, tables, yes, context));
  }
  throw new UsageError(command === undefined ? 'the command is missing' : `unknown command '${command}'`);
}

/** Returns the value of an argument or variable. Throws UsageError if it is missing or doesn't match `pattern`. */
function checkName(argument: string, value: string | undefined, pattern: RegExp): string {
  if (value === undefined || value === '') throw new UsageError(`${argument} is missing`);
  if (pattern.test(value)) return value;
  throw new UsageError(`${argument} has an invalid value: '${value}'`);
}

interface Tables {
  readonly keys: string;
  readonly access: string;
  readonly limits: string;
}

interface StageOptions {
  readonly stage?: string | undefined;
  readonly region?: string | undefined;
}

/**
 * Returns the names of the tables and their region, which is undefined if it is the shell's. There is no default stage,
 * because erasing can't be undone.
 */
async function resolveTarget(
  options: StageOptions,
  environment: CommandContext['environment'],
): Promise<Tables & { readonly recordFunction: string; readonly region?: string }> {
  if (options.stage !== undefined) {
    const { prefix, region } = await resolveStage(options);
    const tables = { keys: `${prefix}-keys`, access: `${prefix}-access`, limits: `${prefix}-limits` };
    return { ...tables, recordFunction: `${prefix}-record`, region };
  }
  // An empty variable counts as unset.
  const keys = environment['KEYS_TABLE'] || undefined;
  const access = environment['ACCESS_TABLE'] || undefined;
  const limits = environment['LIMITS_TABLE'] || undefined;
  const recordFunction = environment['RECORD_FUNCTION'] || undefined;
  if (keys === undefined || access === undefined || limits === undefined || recordFunction === undefined) {
    throw new UsageError('set --stage, or KEYS_TABLE, ACCESS_TABLE, LIMITS_TABLE and RECORD_FUNCTION');
  }
  const tables = {
    keys: checkName('KEYS_TABLE', keys, TABLE),
    access: checkName('ACCESS_TABLE', access, TABLE),
    limits: checkName('LIMITS_TABLE', limits, TABLE),
    recordFunction: checkName('RECORD_FUNCTION', recordFunction, FUNCTION),
  };
  return options.region === undefined ? tables : { ...tables, region: checkRegionOption(options.region) };
}

/** Returns the region of both tables. It is never the shell's, where tables of another stage may have the same names. */
async function resolveReplayRegion(options: StageOptions): Promise<string> {
  if (options.stage !== undefined) return (await resolveStage(options)).region;
  if (options.region !== undefined) return checkRegionOption(options.region);
  throw new UsageError('set --stage or --region');
}

async function withClient(
  region: string | undefined,
  { createClient }: CommandContext,
  use: (client: DynamoDBClient) => Promise<void>,
): Promise<void> {
  const client = createClient(region === undefined ? {} : { region });
  try {
    await use(client);
  } finally {
    client.destroy();
  }
}

/**
 * Erases a tenant. Revokes its access first, because work that is accepted after the keys are deleted would be lost.
 */
async function erase(
  client: DynamoDBClient,
  tenant: string,
  tables: Tables,
  yes: boolean,
  { print, now }: CommandContext,
): Promise<void> {
  const keys = createTenantKeyTable(client, tables.keys);
  const history = await withTableName(tables.keys, keys.read(tenant));
  const grants = await withTableName(tables.access, listGrants(client, tables.access, tenant));

  print(`Tenant ${tenant}:`);
  for (const { kind, keyId, others } of grants) {
    const effect = others.length === 0 ? 'delete' : `keep for ${others.join(', ')}`;
    print(`  ${kind} ${keyId}: ${effect} (${tables.access})`);
  }
  if (history === undefined)
    print(`  tenant keys: none, so nothing is stored; block the name permanently (${tables.keys})`);
  else if (history.state === 'deleted')
    print(`  tenant keys: already erased at ${formatTime(history.deletedAt)} (${tables.keys})`);
  else {
    const versions = formatCount(history.versions.size, 'version');
    print(`  tenant keys: delete ${versions}; all stored content becomes unreadable (${tables.keys})`);
  }
  if (!yes) return print("Nothing was changed. Add --yes to make these changes. They can't be undone.");

  for (const grant of grants) await withTableName(tables.access, revokeGrant(client, tables.access, tenant, grant));
  await withTableName(tables.keys, keys.markErased({ tenant, deletedAt: now() }));
  // What the tenant stored doesn't count any more.
  const counter = { pk: { S: getStoragePartition(tenant) } };
  await withTableName(tables.limits, deleteItem({ client, name: tables.limits }, counter));
  print('Done. Functions may use a cached tenant key for up to five minutes. Until the recovery period of the keys');
  print('table has passed, the keys can be restored from its history.');
}

/** Records the erasure in the audit log. @throws Error that says what to repeat */
async function recordErasure(
  tenant: string,
  target: { readonly region: string | undefined; readonly recordFunction: string; readonly hasStage: boolean },
  { createLambda, createSts, print, now }: CommandContext,
): Promise<void> {
  const config = target.region === undefined ? {} : { region: target.region };
  const recorder = {
    functionName: target.recordFunction,
    lambda: createLambda(config),
    sts: target.hasStage ? createSts(config) : undefined,
  };
  try {
    await recordAct(recorder, { type: 'project.erased', objectId: tenant, project: tenant }, now());
    print('The erasure is recorded in the audit log.');
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new Error(`The tenant is erased, but that is not recorded in the audit log. Run erase again. ${reason}`, {
      cause: thrown,
    });
  }
}

/** Copies tombstones to a restored keys table. */
async function replayTombstones(
  client: DynamoDBClient,
  { from, to }: { readonly from: string; readonly to: string },
  yes: boolean,
  { print }: CommandContext,
): Promise<void> {
  const restored = createTenantKeyTable(client, to);
  // Fails for a misspelt table even if there is no tombstone to copy.
  await withTableName(to, restored.read('-'));
  let found = 0;
  let missing = 0;
  for await (const tombstone of eachWithTableName(from, scanTombstones(client, from))) {
    const { tenant, deletedAt } = tombstone;
    found += 1;
    const history = await withTableName(to, restored.read(tenant));
    if (history?.state === 'deleted') continue;
    missing += 1;
    const keys = history === undefined ? 'no keys' : `keys of ${formatCount(history.versions.size, 'version')}`;
    print(`  ${tenant}: erased at ${formatTime(deletedAt)}, ${keys} in ${to}`);
    if (yes) await withTableName(to, restored.markErased(tombstone));
  }
  const effect = yes ? 'copied now' : 'to copy';
  print(`${formatCount(found, 'tombstone')} in ${from}: ${found - missing} already in ${to}, ${missing} ${effect}.`);
  if (!yes && missing > 0) print('Nothing was changed. Add --yes to copy them.');
}

function formatTime(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Returns the result of a request to a table. Rethrows its failure with the table's name. */
async function withTableName<T>(table: string, result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (thrown) {
    throw createTableError(table, thrown);
  }
}

async function* eachWithTableName<T>(table: string, results: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* results;
  } catch (thrown) {
    throw createTableError(table, thrown);
  }
}

/** Returns an error with the table's name and the reason. The SDK's messages don't name the table. */
function createTableError(table: string, thrown: unknown): Error {
  const { cause = thrown } = toLambentError(thrown);
  const isMissing = cause instanceof Error && cause.name === 'ResourceNotFoundException';
  const reason = isMissing ? 'no such table in this account and region' : describeAwsError(cause);
  return new Error(`${table}: ${reason}`, { cause: thrown });
}

if (import.meta.main) {
  const createClient = (config: DynamoDBClientConfig) => new DynamoDBClient(config);
  const context = {
    createClient,
    createLambda: (config: LambdaClientConfig) => new LambdaClient(config),
    createSts: (config: STSClientConfig) => new STSClient(config),
    ...{ environment: process.env, print: console.log, now: Date.now },
  };
  await runCommandLine((args) => runTenantCommand(args, context), USAGE);
}
