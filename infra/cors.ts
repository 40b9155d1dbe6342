import { readSetting, type Variables } from './settings.ts';

/** osls's CORS setting of a route. */
export interface Cors {
  readonly origin: string;
  readonly headers: readonly string[];
  readonly maxAge: number;
}

/** Preflight answers for the origin that the setting `corsOrigin` names; none when it is empty. */
export async function cors(variables: Variables): Promise<Cors | false> {
  const origin = await readSetting(variables, 'corsOrigin');
  // The wildcard covers the headers that OpenAI's clients add, but by the standard never Authorization.
  return origin === '' ? false : { origin, headers: ['authorization', '*'], maxAge: 7200 };
}
