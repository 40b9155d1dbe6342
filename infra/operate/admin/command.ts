import type { FieldName } from './fields.ts';

/** A command of `npm run admin`: one request to the administration API, or one for each page of a list. */
export interface Command {
  /** `service-accounts create` */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  /**
   * Below `/v1/organization/`, or below `/v1` if it begins with a slash. Parameters are options; `{id}` is the operand. A part in
   * brackets is used if its option is given, and otherwise replaced by what follows `|`: `/[projects/{project}|organization]/roles`.
   */
  readonly path: string;
  /** The options that become fields of the body or, for GET, of the query. */
  readonly fields?: readonly FieldName[];
  /** The options without which the API refuses the request. */
  readonly required?: readonly (FieldName | 'data')[];
  /** True if `--data` gives the body as JSON, for fields that have no options. */
  readonly data?: boolean;
  /** Fields that are the same for each request. */
  readonly constants?: Readonly<Record<string, unknown>>;
  /** The names of fields that differ from those in `FIELDS`, by option. */
  readonly rename?: Partial<Readonly<Record<FieldName, string>>>;
  /** The default texts of options. */
  readonly defaults?: Partial<Readonly<Record<FieldName, string>>>;
  /** True if the result is a usage report, which has buckets and may be CSV. */
  readonly report?: boolean;
  /** Returns the row of a listed object, if it isn't the object itself. */
  readonly toRow?: (object: Readonly<Record<string, unknown>>) => Record<string, unknown>;
}

/** Returns the commands that every resource with objects has. */
export function listCommands(resource: string, path: string): Command[] {
  return [
    { name: `${resource} list`, method: 'GET', path },
    { name: `${resource} get`, method: 'GET', path: `${path}/{id}` },
    { name: `${resource} delete`, method: 'DELETE', path: `${path}/{id}` },
  ];
}
