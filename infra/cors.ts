import { readSetting, type Variables } from './settings.ts';

/** osls's CORS setting of a route. */
export interface Cors {
  readonly origin: string;
  readonly headers: readonly string[];
  readonly maxAge: number;
}

/** Returns the CORS setting for the origin in `corsOrigin`, or false if it is empty. */
export async function createCors(variables: Variables): Promise<Cors | false> {
  const origin = await readSetting(variables, 'corsOrigin');
  // The wildcard covers the headers that OpenAI's clients add. By the Fetch standard it doesn't cover Authorization.
  return origin === '' ? false : { origin, headers: ['authorization', '*'], maxAge: 7200 };
}
