/**
 * `npm run admin`: administers projects, their keys and what they may do, in a stage or on the laptop, by the same API as the
 * `openai` package. docs/administration.md describes it.
 */
import { readFile } from 'node:fs/promises';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { isObject } from '../../shared/core/objects.ts';
import { bootstrap } from './admin/bootstrap.ts';
import { COMMANDS, type Command, FIELDS, type FieldName } from './admin/commands.ts';
import type { AdminContext } from './admin/context.ts';
import { formatObject, formatTable } from './admin/output.ts';
import { type ApiTarget, resolveApi } from './admin/target.ts';
import { checkArgument, parseOptions, runCommandLine, suggestName, UsageError } from './command-line.ts';

const USAGE = `usage:
  npm run admin -- RESOURCE VERB [ID] --stage STAGE [--region REGION] [OPTIONS] [--json]
  npm run admin -- bootstrap --stage STAGE [--region REGION] [--name NAME]

  --local       instead of --stage: the laptop, while npm start runs
  --json        print JSON instead of a table, or of a created key alone
  bootstrap     makes an admin key with your AWS credentials; all else needs one in OPENAI_ADMIN_KEY

${COMMANDS.map((command) => `  ${describeCommand(command)}`).join('\n')}

  SCOPES and MODELS are separated by commas; WHEN is 90d, 2027-01-31, 2027-01-31T12:00:00Z or never; JSON may be @FILE`;

const TARGET_OPTIONS = {
  stage: { type: 'string' },
  region: { type: 'string' },
  local: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  project: { type: 'string' },
  account: { type: 'string' },
  key: { type: 'string' },
  data: { type: 'string' },
} as const;
const FIELD_NAMES = Object.keys(FIELDS) as FieldName[];
const OPTIONS = {
  ...TARGET_OPTIONS,
  ...Object.fromEntries(FIELD_NAMES.map((name) => [name, { type: 'string' as const }])),
};

/**
 * Runs one command.
 * @throws UsageError for invalid arguments, before anything is changed
 * @throws Error with one line of explanation if a request fails
 */
export async function runAdminCommand(args: readonly string[], context: AdminContext): Promise<void> {
  const { positionals, values } = parseOptions(args, OPTIONS);
  const texts: Readonly<Record<string, unknown>> = values;
  const options = { ...values, local: values.local === true };
  if (positionals[0] === 'bootstrap') {
    if (positionals.length > 1) throw new UsageError(`bootstrap takes only options, not '${positionals[1]}'`);
    return bootstrap({ ...options, name: String(texts['name'] ?? 'bootstrap') }, context);
  }
  const command = findCommand(positionals);
  const path = fillPath(command, positionals[2], texts);
  const body = await createBody(command, texts, context);
  const target = await resolveApi(options, context);
  const isList = command.name.endsWith(' list');
  const result = isList ? await requestPages(target, path, body) : await request(target, command.method, path, body);
  const value = findKeyValue(result);
  if (values.json !== true && value !== undefined) {
    for (const line of formatObject(omitKeyValue(result))) context.note(line);
    context.note("Store the key now: it can't be shown again.");
    return context.print(value);
  }
  if (values.json === true) return context.print(JSON.stringify(result, null, 2));
  const objects = Array.isArray(result) ? result.filter(isObject) : [];
  if (isList && objects.length === 0) return context.note(`None in ${target.description}.`);
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
  const resources = [...new Set(COMMANDS.map(({ name }) => name.split(' ')[0] ?? '')), 'bootstrap'];
  if (!resources.includes(resource))
    throw new UsageError(`unknown resource '${resource}'${suggestName(resource, resources)}`);
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

type Texts = Readonly<Record<string, unknown>>;

/** Returns the command's path with its parameters, percent-encoded. */
function fillPath({ name, path, fields = [], data }: Command, id: string | undefined, texts: Texts): string {
  const allowed = new Set<string>(['stage', 'region', 'local', 'json', ...fields, ...(data ? ['data'] : [])]);
  const fill = (part: string) =>
    part.replace(/\{(\w+)\}/g, (_, parameter: string) => {
      if (parameter !== 'id') allowed.add(parameter);
      const value = parameter === 'id' ? id : texts[parameter];
      const argument = parameter === 'id' ? 'the id' : `--${parameter}`;
      return encodeURIComponent(checkArgument(argument, value === undefined ? undefined : String(value), /./, ''));
    });
  const filled = path
    .split(/(\[[^\]]*\])/)
    .map((part) => {
      const [, optional, parameter = ''] = /^\[(.*\{(\w+)\}.*)\]$/.exec(part) ?? [];
      if (optional === undefined) return fill(part);
      allowed.add(parameter);
      return texts[parameter] === undefined ? '' : fill(optional);
    })
    .join('');
  if (filled.startsWith('api_keys/')) throw new UsageError('--project is missing');
  const superfluous = Object.keys(texts).find((option) => !allowed.has(option) && texts[option] !== false);
  if (superfluous !== undefined) throw new UsageError(`${name} does not take --${superfluous}`);
  return filled;
}

async function createBody(
  { fields = [], data, constants }: Command,
  texts: Texts,
  { readFile }: AdminContext,
): Promise<Record<string, unknown>> {
  const body: Record<string, unknown> = { ...constants };
  if (data && texts['data'] !== undefined)
    Object.assign(body, parseData(await readData(String(texts['data']), readFile)));
  for (const option of fields) {
    const text = texts[option];
    if (text === undefined) continue;
    const { field, usage, parse } = FIELDS[option];
    const value = parse(String(text));
    if (value === undefined) throw new UsageError(`--${option} has an invalid value: '${text}' (${usage})`);
    body[field] = value;
  }
  return body;
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

/** Requests all pages of a list, and returns its objects. */
async function requestPages(target: ApiTarget, path: string, query: Record<string, unknown>): Promise<unknown[]> {
  const objects: unknown[] = [];
  for (let after: string | undefined; ; ) {
    const parameters = new URLSearchParams({ limit: '100', ...(after === undefined ? {} : { after }) });
    for (const [name, value] of Object.entries(query)) parameters.set(name, String(value));
    const page = await request(target, 'GET', `${path}?${parameters}`, {});
    if (!isObject(page) || !Array.isArray(page['data'])) return objects;
    objects.push(...page['data']);
    if (page['has_more'] !== true) return objects;
    after = String(page['last_id']);
  }
}

/** @throws Error with the API's message */
async function request(target: ApiTarget, method: string, path: string, body: object): Promise<unknown> {
  const hasBody = method === 'POST';
  const response = await fetch(`${target.url}/organization/${path}`, {
    method,
    headers: { authorization: `Bearer ${target.adminKey}`, ...(hasBody ? { 'content-type': 'application/json' } : {}) },
    ...(hasBody ? { body: JSON.stringify(body) } : {}),
  }).catch((thrown: unknown) => {
    throw new Error(`${target.description} can't be reached at ${target.url}`, { cause: thrown });
  });
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  const message = /"message":\s*"((?:[^"\\]|\\.)*)"/.exec(text)?.[1];
  throw new Error(
    `${target.description}: ${message === undefined ? `status ${response.status}` : JSON.parse(`"${message}"`)}`,
  );
}

function describeCommand({ name, path, fields = [], data }: Command): string {
  const parameters = [...path.matchAll(/\{(\w+)\}/g)].map(([, parameter = '']) => parameter);
  const optional = [...path.matchAll(/\[[^\]]*\{(\w+)\}[^\]]*\]/g)].map(([, parameter]) => parameter);
  const usage = parameters.map((parameter) => {
    if (parameter === 'id') return 'ID';
    const text = `--${parameter} ${parameter.toUpperCase()}`;
    return optional.includes(parameter) ? `[${text}]` : text;
  });
  return [
    name,
    ...usage,
    ...fields.map((option) => `[--${option} ${FIELDS[option].usage}]`),
    ...(data ? ['[--data JSON]'] : []),
  ].join(' ');
}

if (import.meta.main) {
  await runCommandLine(
    (args) =>
      runAdminCommand(args, {
        localEnvironment: () => readFile(`${import.meta.dirname}/../../.local/env`, 'utf8').catch(() => undefined),
        adminKey: process.env['OPENAI_ADMIN_KEY'],
        readFile: (path) => readFile(path, 'utf8'),
        createClient: (config) => new DynamoDBClient(config),
        print: console.log,
        note: console.error,
        now: Date.now,
      }),
    USAGE,
  );
}
