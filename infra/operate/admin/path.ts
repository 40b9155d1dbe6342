import { checkArgument, UsageError } from '../command-line.ts';
import type { Command } from './command.ts';

/** The values of the options, by name. */
export type Texts = Readonly<Record<string, unknown>>;

/**
 * Returns the path of a command's request below `/v1/`, with its parameters, percent-encoded.
 * @throws UsageError for a missing parameter, and for an option that the command does not take
 */
export function fillPath({ name, path, fields = [], data, report }: Command, id: string | undefined, texts: Texts) {
  const flags = [...(data ? ['data'] : []), ...(report ? ['csv'] : [])];
  const allowed = new Set<string>(['stage', 'region', 'local', 'json', ...fields, ...flags]);
  const fill = (part: string) =>
    part.replace(/\{(\w+)\}/g, (_, parameter: string) => {
      if (parameter !== 'id') allowed.add(parameter);
      const value = parameter === 'id' ? id : texts[parameter];
      const argument = parameter === 'id' ? 'the id' : `--${parameter}`;
      return encodeURIComponent(checkArgument(argument, value === undefined ? undefined : String(value), /./, ''));
    });
  const filled = splitPath(path)
    .map(({ text, parameter, otherwise }) => {
      if (parameter === undefined) return fill(text);
      allowed.add(parameter);
      return texts[parameter] === undefined ? otherwise : fill(text);
    })
    .join('');
  if (filled.startsWith('organization/api_keys/')) throw new UsageError('--project is missing');
  const superfluous = Object.keys(texts).find((option) => !allowed.has(option) && texts[option] !== false);
  if (superfluous !== undefined) throw new UsageError(`${name} does not take --${superfluous}`);
  return filled;
}

/** Returns how the parameters of a command's path are given: `ID`, `--user USER`, `[--project PROJECT]`. */
export function describePath(path: string): string[] {
  return splitPath(path).flatMap(({ text, parameter }) =>
    listParameters(text).map((name) => {
      if (name === 'id') return 'ID';
      const option = `--${name} ${name.toUpperCase()}`;
      return name === parameter ? `[${option}]` : option;
    }),
  );
}

/** Returns the names of the parameters in a path. */
export function listParameters(path: string): string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name);
}

/** Returns the paths of all routes that a command may request: `/v1/organization/projects/{project}`. */
export function listPaths(path: string): string[] {
  const expanded = splitPath(path).reduce<string[]>(
    (paths, { text, parameter, otherwise }) =>
      paths.flatMap((before) => [before + text, ...(parameter === undefined ? [] : [before + otherwise])]),
    [''],
  );
  return expanded.map((each) => `/v1/${each}`);
}

interface PathPart {
  readonly text: string;
  /** The option that the part needs. */
  readonly parameter?: string;
  /** The part's text without the option. */
  readonly otherwise: string;
}

function splitPath(path: string): PathPart[] {
  const whole = path.startsWith('/') ? path.slice(1) : `organization/${path}`;
  return whole.split(/(\[[^\]]*\])/).map((part) => {
    const [, text, parameter, otherwise = ''] = /^\[([^|]*\{(\w+)\}[^|]*)(?:\|(.*))?\]$/.exec(part) ?? [];
    return text === undefined || parameter === undefined
      ? { text: part, otherwise: '' }
      : { text, parameter, otherwise };
  });
}
