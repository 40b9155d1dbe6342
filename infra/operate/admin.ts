/**
 * `npm run admin`: administers projects, their keys and what they may do, in a stage or on the laptop, by the same API as the
 * `openai` package. docs/administration.md describes it.
 */
import { readFile } from 'node:fs/promises';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { LambdaClient } from '@aws-sdk/client-lambda';
import { STSClient } from '@aws-sdk/client-sts';
import { isObject } from '../../shared/core/objects.ts';
import { bootstrap } from './admin/bootstrap.ts';
import type { Command } from './admin/command.ts';
import { COMMANDS } from './admin/commands.ts';
import type { AdminContext } from './admin/context.ts';
import { EXPLANATIONS, FIELDS, type FieldName } from './admin/fields.ts';
import { describeUsage, RESOURCES } from './admin/help.ts';
import { formatObject, formatTable } from './admin/output.ts';
import { fillPath, listParameters, type Texts } from './admin/path.ts';
import { listRows, request, requestCsv, requestPages, requestReport } from './admin/requests.ts';
import { resolveApi } from './admin/target.ts';
import { parseOptions, runCommandLine, suggestName, UsageError } from './command-line.ts';
import { readLocalEnvironment } from './local-target.ts';

const TARGET_OPTIONS = {
  stage: { type: 'string' },
  region: { type: 'string' },
  local: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  csv: { type: 'boolean', default: false },
  data: { type: 'string' },
} as const;
const PARAMETERS = COMMANDS.flatMap(({ path }) => listParameters(path)).filter((name) => name !== 'id');
const OPTIONS = {
  ...TARGET_OPTIONS,
  ...Object.fromEntries([...Object.keys(FIELDS), ...PARAMETERS].map((name) => [name, { type: 'string' as const }])),
};

/**
 * Runs one command.
 * @throws UsageError for invalid arguments, before anything is changed
 * @throws Error with one line of explanation if a request fails
 */
export async function runAdminCommand(args: readonly string[], context: AdminContext): Promise<void> {
  const { positionals, values } = parseOptions(args, OPTIONS);
  const texts: Texts = values;
  const options = { ...values, local: values.local === true };
  if (positionals[0] === 'bootstrap') {
    if (positionals.length > 1) throw new UsageError(`bootstrap takes only options, not '${positionals[1]}'`);
    const lifetimeSeconds = parseOption('expires', String(texts['expires'] ?? '90d'));
    return bootstrap({ ...options, lifetimeSeconds, name: String(texts['name'] ?? 'bootstrap') }, context);
  }
  const command = findCommand(positionals);
  const path = fillPath(command, positionals[2], texts);
  const body = await createBody(command, texts, context);
  const target = await resolveApi(options, context);
  if (values.csv === true) return context.print((await requestCsv(target, path, body)).trimEnd());
  const isList = command.report === true || command.name.endsWith(' list');
  const result = await (command.report === true
    ? requestReport(target, path, body)
    : isList
      ? requestPages(target, path, body)
      : request(target, command.method, path, body));
  const value = findKeyValue(result);
  if (values.json !== true && value !== undefined) {
    for (const line of formatObject(omitKeyValue(result))) context.note(line);
    context.note("Store the key now: it can't be shown again.");
    return context.print(value);
  }
  if (values.json === true) return context.print(JSON.stringify(result, null, 2));
  const objects = listRows(result).map((each) => command.toRow?.(each) ?? each);
  if (isList && objects.length === 0) return context.note('Nothing was found.');
  for (const line of isList ? formatTable(objects) : formatObject(isObject(result) ? result : {})) context.print(line);
}

/** Returns the value of the key that a request has created, for a script that reads it. */
function findKeyValue(result: unknown): string | undefined {
  if (!isObject(result)) return undefined;
  const { value } = isObject(result['api_key']) ? result['api_key'] : result;
  return typeof value === 'string' ? value : undefined;
}

function omitKeyValue(result: unknown): Record<string, unknown> {
  if (!isObject(result)) return {};
  const { value: _, api_key: key, ...fields } = result;
  return isObject(key) ? { ...fields, api_key: key['id'], expires_at: key['expires_at'] } : fields;
}

function findCommand([resource, verb, operand, ...more]: readonly string[]): Command {
  if (resource === undefined) throw new UsageError('the resource is missing');
  if (!RESOURCES.includes(resource))
    throw new UsageError(`unknown resource '${resource}'${suggestName(resource, RESOURCES)}`);
  const verbs = COMMANDS.filter(({ name }) => name.startsWith(`${resource} `)).map(
    ({ name }) => name.split(' ')[1] ?? '',
  );
  const command = COMMANDS.find(({ name }) => name === `${resource} ${verb}`);
  if (command === undefined)
    throw new UsageError(
      verb === undefined
        ? `the verb is missing: ${verbs.join(', ')}`
        : `unknown verb '${verb}'${suggestName(verb, verbs)}`,
    );
  const superfluous = command.path.includes('{id}') ? more[0] : operand;
  if (superfluous !== undefined) throw new UsageError(`${command.name} doesn't take '${superfluous}'`);
  return command;
}

async function createBody(
  { fields = [], required = [], data, constants, rename, defaults }: Command,
  texts: Texts,
  { readFile }: AdminContext,
): Promise<Record<string, unknown>> {
  const body: Record<string, unknown> = { ...constants };
  // With --data, a field may be in the JSON.
  const missing = required.find((option) => texts[option] === undefined && texts['data'] === undefined);
  if (missing !== undefined) throw new UsageError(`--${missing} is missing`);
  if (data && texts['data'] !== undefined)
    Object.assign(body, parseData(await readData(String(texts['data']), readFile)));
  for (const option of fields) {
    const text = texts[option] ?? defaults?.[option];
    if (text === undefined) continue;
    body[rename?.[option] ?? FIELDS[option].field] = parseOption(option, String(text));
  }
  return body;
}

/** Returns the value that the text of an option stands for. @throws UsageError */
function parseOption<Name extends FieldName>(
  option: Name,
  text: string,
): Exclude<ReturnType<(typeof FIELDS)[Name]['parse']>, undefined>;
function parseOption(option: FieldName, text: string): unknown {
  const { usage, parse } = FIELDS[option];
  const value = parse(text);
  if (value === undefined)
    throw new UsageError(`--${option} has an invalid value: '${text}' (${EXPLANATIONS[usage] ?? usage})`);
  return value;
}

async function readData(data: string, readFile: AdminContext['readFile']): Promise<string> {
  return data.startsWith('@') ? readFile(data.slice(1)) : data;
}

function parseData(text: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text);
    if (isObject(parsed)) return parsed;
  } catch {}
  throw new UsageError('--data must be a JSON object');
}

if (import.meta.main) {
  await runCommandLine(
    (args) =>
      runAdminCommand(args, {
        localEnvironment: readLocalEnvironment,
        adminKey: process.env['OPENAI_ADMIN_KEY'],
        readFile: (path) => readFile(path, 'utf8'),
        createClient: (config) => new DynamoDBClient(config),
        createLambda: (config) => new LambdaClient(config),
        createSts: (config) => new STSClient(config),
        print: console.log,
        note: console.error,
        now: Date.now,
      }),
    describeUsage,
  );
}
