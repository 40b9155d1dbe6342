import type { Cap } from './caps.ts';
import { OWNERS } from './owners.ts';
import type { QueueCap } from './queue-caps.ts';

/** A limit as errors and log lines carry it, and as jobs store it: `key.dollarsPerMonth`. */
export function encodeLimitName({ level, name }: Pick<Cap | QueueCap, 'level' | 'name'>): string {
  return `${level}.${name}`;
}

/** Returns what `encodeLimitName` has encoded. Undefined for a limit that this version doesn't know. */
export function parseLimitName(limit: string): Pick<Cap, 'level' | 'name'> | undefined {
  const [level = '', name] = limit.split('.');
  return isLevel(level) && name !== undefined ? { level, name } : undefined;
}

/**
 * Returns the type that OpenAI's error has if such a limit refuses a request. Undefined if it is that of other errors with the
 * same code.
 */
export function findErrorType(name: string): 'requests' | 'tokens' | undefined {
  if (name.startsWith('requestsPer')) return 'requests';
  return name.startsWith('tokensPer') ? 'tokens' : undefined;
}

function isLevel(text: string): text is Cap['level'] {
  return Object.hasOwn(OWNERS, text);
}
