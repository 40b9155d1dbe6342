/**
 * `npm run tenant -- erase NAME` and `npm run tenant -- replay-tombstones --from TABLE --to TABLE`: what an operator does
 * to tenants, with the AWS credentials of the shell. Says what it would do; `--yes` does it. See docs/restore-and-erase.md.
 */
import { parseArgs } from 'node:util';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { toLambentError } from '../../shared/core/errors.ts';
import { createTenantKeyTable } from '../../shared/vault/key-table.ts';
import { scanTombstones } from '../../shared/vault/tombstones.ts';
import { listGrants, revokeGrant } from './access.ts';

const USAGE = `usage:
  npm run tenant -- erase NAME [--stage STAGE] [--yes]
  npm run tenant -- replay-tombstones --from TABLE --to TABLE [--yes]

Without --yes nothing is changed. Tables are those of --stage, or of KEYS_TABLE and ACCESS_TABLE.`;

const TENANT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const STAGE = /^[A-Za-z][A-Za-z0-9-]{0,31}$/;
/** What DynamoDB takes for a table. */
const TABLE = /^[A-Za-z0-9._-]{3,255}$/;

export interface CommandContext {
  readonly client: DynamoDBClient;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly print: (line: string) => void;
  /** Epoch milliseconds. */
  readonly now: () => number;
}

/** What was asked for can't be understood: the message says what would be. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/**
 * Runs one command.
 * @throws UsageError, having changed nothing; Error that says which table could not be asked, and why
 */
export async function runTenantCommand(args: readonly string[], surroundings: CommandContext): Promise<void> {
  const { positionals, values } = parsed(args);
  const [command, name, ...more] = positionals;
  const { stage, from, to, yes } = values;
  if (command === 'erase') {
    if (more.length > 0) throw new UsageError(`erase takes one tenant, not ${positionals.length - 1}`);
    if (from !== undefined || to !== undefined) throw new UsageError('erase takes no --from and no --to');
    const tenant = checked('a tenant', name, TENANT);
    return erase(tenant, tablesOf(stage, surroundings.environment), yes, surroundings);
  }
  if (command === 'replay-tombstones') {
    if (name !== undefined) throw new UsageError(`replay-tombstones takes options alone, not '${name}'`);
    if (stage !== undefined) throw new UsageError('replay-tombstones takes the names of both tables, and no --stage');
    const tables = { from: checked('--from', from, TABLE), to: checked('--to', to, TABLE) };
    if (tables.from === tables.to) throw new UsageError('--from and --to are the same table');
    return replay(tables, yes, surroundings);
  }
  throw new UsageError(command === undefined ? 'which command?' : `there is no command '${command}'`);
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        stage: { type: 'string' },
        from: { type: 'string' },
        to: { type: 'string' },
        yes: { type: 'boolean', default: false },
      },
    });
  } catch (thrown) {
    throw new UsageError(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

function checked(what: string, value: string | undefined, pattern: RegExp): string {
  if (value === undefined || value === '') throw new UsageError(`${what} is missing`);
  if (pattern.test(value)) return value;
  throw new UsageError(`${what} can't be named '${value}'`);
}

interface Tables {
  readonly keys: string;
  readonly access: string;
}

/** No stage by default: a command that can't be undone is not to guess. An empty variable is an unset one. */
function tablesOf(stage: string | undefined, environment: CommandContext['environment']): Tables {
  if (stage !== undefined) {
    const prefix = `lambent-${checked('--stage', stage, STAGE)}`;
    return { keys: `${prefix}-keys`, access: `${prefix}-access` };
  }
  const keys = environment['KEYS_TABLE'] || undefined;
  const access = environment['ACCESS_TABLE'] || undefined;
  if (keys === undefined || access === undefined) {
    throw new UsageError('--stage is missing, and so is KEYS_TABLE or ACCESS_TABLE');
  }
  return { keys: checked('KEYS_TABLE', keys, TABLE), access: checked('ACCESS_TABLE', access, TABLE) };
}

/** Access first: what is accepted after the keys are gone would be lost. */
async function erase(
  tenant: string,
  tables: Tables,
  yes: boolean,
  { client, print, now }: CommandContext,
): Promise<void> {
  const keys = createTenantKeyTable(client, tables.keys);
  const history = await asking(tables.keys, keys.read(tenant));
  const grants = await asking(tables.access, listGrants(client, tables.access, tenant));

  print(`Tenant ${tenant}`);
  for (const { kind, keyId, others } of grants) {
    print(`  ${kind} ${keyId}: ${others.length === 0 ? 'goes' : `stays, for ${others.join(', ')}`} (${tables.access})`);
  }
  if (history === undefined) print(`  no keys: it has stored nothing; its name is spent (${tables.keys})`);
  else if (history.state === 'deleted') print(`  erased already, ${at(history.deletedAt)} (${tables.keys})`);
  else
    print(`  keys of ${counted(history.versions.size, 'version')}: go, and with them all it stored (${tables.keys})`);
  if (!yes) return print('Nothing was changed. --yes does it, for good.');

  for (const grant of grants) await asking(tables.access, revokeGrant(client, tables.access, tenant, grant));
  await asking(tables.keys, keys.markErased({ tenant, deletedAt: now() }));
  print('Done. Functions that hold one of its keys go on for five minutes at most; a backup of the keys table for as');
  print('long as it is kept.');
}

async function replay(
  { from, to }: { readonly from: string; readonly to: string },
  yes: boolean,
  { client, print }: CommandContext,
): Promise<void> {
  const restored = createTenantKeyTable(client, to);
  // A mistaken name is to be noticed, also when there is nothing to do.
  await asking(to, restored.read('-'));
  let found = 0;
  let buried = 0;
  for await (const tombstone of explained(from, scanTombstones(client, from))) {
    const { tenant, deletedAt } = tombstone;
    found += 1;
    const history = await asking(to, restored.read(tenant));
    if (history?.state === 'deleted') continue;
    buried += 1;
    const keys = history === undefined ? 'has no keys' : `has keys of ${counted(history.versions.size, 'version')}`;
    print(`  ${tenant}, deleted ${at(deletedAt)}, ${keys} in ${to}`);
    if (yes) await asking(to, restored.markErased(tombstone));
  }
  print(
    `${counted(found, 'tombstone')} in ${from}: ${found - buried} were in ${to}, ${buried} ${yes ? 'are now' : 'would come'}.`,
  );
  if (!yes && buried > 0) print('Nothing was changed. --yes does it.');
}

function at(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}

async function asking<T>(table: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (thrown) {
    throw failureOf(table, thrown);
  }
}

async function* explained<T>(table: string, answers: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* answers;
  } catch (thrown) {
    throw failureOf(table, thrown);
  }
}

/** The SDK's own words name neither the table nor what to do. */
function failureOf(table: string, thrown: unknown): Error {
  const { cause = thrown } = toLambentError(thrown);
  const name = cause instanceof Error ? cause.name : String(cause);
  const message = cause instanceof Error ? cause.message : '';
  const why = name === 'ResourceNotFoundException' ? 'there is no such table in this account and region' : message;
  return new Error(`${table}: ${why || name}`, { cause: thrown });
}

if (import.meta.main) {
  const client = new DynamoDBClient();
  try {
    await runTenantCommand(process.argv.slice(2), {
      client,
      environment: process.env,
      print: console.log,
      now: Date.now,
    });
  } catch (thrown) {
    console.error(thrown instanceof Error ? thrown.message : thrown);
    if (thrown instanceof UsageError) console.error(`\n${USAGE}`);
    process.exitCode = 1;
  } finally {
    client.destroy();
  }
}
