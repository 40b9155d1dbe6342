import type { ModelRegistry } from '../shared/inference/registry.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Environment variables that hold a key or a header, with the parts of the registry that use each: `models.qwen`. */
export type NamedKeys = ReadonlyMap<string, ReadonlySet<string>>;

/** Finds the variables that a registry names as `env:NAME`. */
export function findNamedKeys({ models, fleets }: ModelRegistry): NamedKeys {
  const named = new Map<string, Set<string>>();
  const add = (user: string, reference = ''): void => {
    const [, variable] = /^env:(.+)$/.exec(reference) ?? [];
    if (variable !== undefined) named.set(variable, (named.get(variable) ?? new Set()).add(user));
  };
  for (const [name, { targets }] of Object.entries(models)) {
    for (const target of targets) {
      if (target.provider !== 'openai-compatible') continue;
      for (const reference of [target.apiKey, ...Object.values(target.headers ?? {})]) add(`models.${name}`, reference);
    }
  }
  for (const [name, { apiKey }] of Object.entries(fleets)) add(`fleets.${name}`, apiKey);
  return named;
}

/** Returns the named keys that are set. Functions get no other variable of the user's environment. */
export function selectNamedKeys(env: Environment, named: NamedKeys): Record<string, string> {
  const set = [...named.keys()].flatMap((name) => (isSet(env[name]) ? [[name, env[name]] as const] : []));
  return Object.fromEntries(set);
}

/** Returns a line to print for each named key that is not set. */
export function describeMissingKeys(env: Environment, named: NamedKeys): string[] {
  return [...named]
    .filter(([name]) => !isSet(env[name]))
    .map(([name, users]) => {
      const list = new Intl.ListFormat('en').format(users);
      return `Keys: ${name} is not set. Requests to ${list} fail until you set it and start again.`;
    });
}

/** Functions also treat an empty value, or white space, as unset. */
function isSet(value: string | undefined): value is string {
  return value !== undefined && value.trim() !== '';
}
