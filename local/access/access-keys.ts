import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { LambentError } from '../../shared/core/errors.ts';

/** AWS credentials, as programs sign requests with them. */
export interface AccessKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** The access keys that stand-ins accept, by id. */
export type AccessKeys = Map<string, AccessKey>;

const schema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({
    accessKeyId: v.pipe(v.string(), v.regex(/^\w{16,128}$/)),
    secretAccessKey: v.pipe(v.string(), v.minLength(32)),
  }),
);

/** AWS's access key ids begin with `AKIA` or `ASIA`. */
const PREFIX = 'LAMBENTLOCAL';

/** Returns true if the key was made by `loadAccessKey`, or is the one that versions up to 0.1.0 used. */
export function isStandInKey(accessKeyId: string | undefined): boolean {
  return accessKeyId === 'local' || accessKeyId?.startsWith(PREFIX) === true;
}

/**
 * Returns the access key of a state folder, which is made at random at the first start.
 * @throws LambentError `configuration` if the file is damaged
 */
export async function loadAccessKey(stateDir: string): Promise<AccessKey> {
  const file = join(stateDir, 'credentials.json');
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return createAccessKey(file);
  const stored = v.safeParse(schema, text);
  if (stored.success) return stored.output;
  throw new LambentError('configuration', `${file} is damaged. Delete it: the next start makes new credentials.`);
}

async function createAccessKey(file: string): Promise<AccessKey> {
  const key = {
    accessKeyId: `${PREFIX}${randomBytes(8).toString('hex').toUpperCase()}`,
    secretAccessKey: randomBytes(30).toString('base64url'),
  };
  await writeFile(file, JSON.stringify(key), { mode: 0o600 });
  return key;
}
