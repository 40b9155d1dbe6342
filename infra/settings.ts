import { closest, distance } from 'fastest-levenshtein';
import * as v from 'valibot';
import { LambentError } from '../shared/core/errors.ts';
import { RULES } from './setting-rules.ts';
import { SETTINGS, type Setting, type Settings } from './settings-schema.ts';

/** osls's argument to a function of `infra/osls.js`. */
export interface Variables {
  /** Options of the command line, null if they are not given. */
  readonly options: { readonly region: string | null; readonly param: readonly string[] | null };
  /** Resolves a variable such as `param:logLevel` or `sls:stage`. Throws if it has no value. */
  resolveVariable(address: string): Promise<unknown>;
  /** Returns the value at a path of `serverless.yml`. */
  resolveConfigurationProperty(path: readonly string[]): Promise<unknown>;
}

/** The stage that is packaged. */
export interface Stage {
  readonly service: string;
  /** Its name. */
  readonly stage: string;
  /** Prefix of the names of its resources, such as `lambent-dev`. */
  readonly prefix: string;
  readonly settings: Settings;
}

/**
 * Returns the stage that is packaged, with its settings.
 * @throws LambentError `configuration` that names every invalid and every unknown setting
 */
export async function readStage(variables: Variables): Promise<Stage> {
  const { options, resolveVariable, resolveConfigurationProperty } = variables;
  const stage = String(await resolveVariable('sls:stage'));
  const params = Object(await resolveConfigurationProperty(['params']));
  const given = new Set([
    ...Object.keys(Object(params.default)),
    ...Object.keys(Object(params[stage])),
    ...(options.param ?? []).map((text) => text.split('=')[0] ?? ''),
  ]);
  const names = [...new Set([...Object.keys(SETTINGS), ...given])];
  const values = await Promise.all(
    names.map(async (name) => [name, given.has(name) ? await resolveVariable(`param:${name}`) : undefined] as const),
  );
  const { region } = options;
  const service = String(await resolveVariable('self:service'));
  return {
    service,
    stage,
    prefix: `${service}-${stage}`,
    settings: parseSettings({ ...Object.fromEntries(values), ...(region === null ? {} : { region }) }),
  };
}

/**
 * Returns the settings that are given as values or, as on the command line, as texts.
 * @throws LambentError `configuration` that names every invalid and every unknown setting
 */
export function parseSettings(given: Readonly<Record<string, unknown>>): Settings {
  const problems = Object.keys(given).flatMap((name) => (isSetting(name) ? [] : describeUnknown(name)));
  const settings: Partial<Record<Setting, unknown>> = {};
  for (const [name, { schema, rule }] of Object.entries(SETTINGS)) {
    const result = v.safeParse<v.GenericSchema>(schema, given[name]);
    if (result.success) settings[name as Setting] = result.output;
    else if (given[name] === undefined) problems.push(`${name} has no value. It must be ${rule}`);
    else problems.push(`${name} is ${JSON.stringify(given[name])}, but must be ${rule}`);
  }
  const valid = RULES.filter((rule) => rule.settings.every((name) => name in settings));
  problems.push(...valid.flatMap(({ findConflict }) => findConflict(settings as Settings) ?? []));
  if (problems.length === 0) return settings as Settings;
  throw new LambentError('configuration', ['Invalid settings:', ...problems].join('\n- '));
}

function isSetting(name: string): name is Setting {
  return Object.hasOwn(SETTINGS, name);
}

/** A name is suggested if at most this share of the unknown name differs. */
const LARGEST_DIFFERENCE = 0.4;

function describeUnknown(name: string): string {
  const nearest = closest(name, Object.keys(SETTINGS));
  const isNear = distance(name, nearest) <= LARGEST_DIFFERENCE * name.length;
  return `${name} is not a setting${isNear ? `: did you mean ${nearest}?` : ''}`;
}
