import type { Settings } from './settings-schema.ts';

/** osls's CORS setting of a route. */
export interface Cors {
  readonly origin: string;
  readonly headers: readonly string[];
  readonly maxAge: number;
}

/** Returns the CORS setting for the origin in `corsOrigin`, or false if it is empty. */
export function createCors({ corsOrigin: origin }: Pick<Settings, 'corsOrigin'>): Cors | false {
  // The wildcard covers the headers that OpenAI's clients add. By the Fetch standard it doesn't cover Authorization.
  return origin === '' ? false : { origin, headers: ['authorization', '*'], maxAge: 7200 };
}
