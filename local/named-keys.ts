import type { ModelRegistry } from '../shared/inference/registry.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Names of environment variables that hold a key, or a header, each with who needs it: `models.qwen`, `fleets.rack`. */
export type NamedKeys = ReadonlyMap<string, ReadonlySet<string>>;

/** Finds every `env:NAME` of a registry. */
export function namedKeys({ models, fleets }: ModelRegistry): NamedKeys {
  const named = new Map<string, Set<string>>();
  const note = (by: string, reference = ''): void => {
    const [, variable] = /^env:(.+)$/.exec(reference) ?? [];
    if (variable !== undefined) named.set(variable, (named.get(variable) ?? new Set()).add(by));
  };
  for (const [name, { targets }] of Object.entries(models)) {
    for (const target of targets) {
      if (target.provider !== 'openai-compatible') continue;
      for (const reference of [target.apiKey, ...Object.values(target.headers ?? {})])
        note(`models.${name}`, reference);
    }
  }
  for (const [name, { apiKey }] of Object.entries(fleets)) note(`fleets.${name}`, apiKey);
  return named;
}

/** What of it an environment has: a function gets no more of the user's than its registry names. */
export function keysIn(env: Environment, named: NamedKeys): Record<string, string> {
  const set = [...named.keys()].flatMap((name) => (isSet(env[name]) ? [[name, env[name]] as const] : []));
  return Object.fromEntries(set);
}

/** A line for a person about each key that an environment doesn't have. */
export function describeMissing(env: Environment, named: NamedKeys): string[] {
  return [...named]
    .filter(([name]) => !isSet(env[name]))
    .map(([name, by]) => {
      const who = new Intl.ListFormat('en').format(by);
      return `Keys: ${name} is not set. ${who} can't be asked without it: set it, and start again.`;
    });
}

/** An empty one, or white space, is none to a function either. */
function isSet(value: string | undefined): value is string {
  return value !== undefined && value.trim() !== '';
}
