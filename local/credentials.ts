import { omitUndefined } from '../shared/core/objects.ts';
import { type AccessKey, isStandInKey } from './access/access-keys.ts';

/** AWS credentials for a function's process. */
export interface Credentials extends AccessKey {
  /** Epoch ms after which they are no longer valid; `Infinity` if they don't expire. */
  readonly expiresAt: number;
}

/**
 * Removes the variables that `.local/env` of an earlier run set in this terminal: credentials that only stand-ins
 * accept, and endpoints that no longer exist. They are not the user's own.
 */
export function removeStandInVariables(env: NodeJS.ProcessEnv): void {
  if (!isStandInKey(env['AWS_ACCESS_KEY_ID'])) return;
  const own = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'];
  const names = Object.keys(env).filter((name) => own.includes(name) || name.startsWith('AWS_ENDPOINT_URL'));
  for (const name of names) delete env[name];
}

/** Returns credentials as the variables that AWS's SDKs read. */
export function toVariables({ accessKeyId, secretAccessKey, sessionToken }: AccessKey): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    ...(sessionToken === undefined ? {} : { AWS_SESSION_TOKEN: sessionToken }),
  };
}

/**
 * Milliseconds before the expiry of its credentials at which a process is replaced. A minute is enough, because
 * requests are signed when they begin. It can't affect a new process, because the provider chain returns credentials
 * that are valid for at least five minutes.
 */
const MARGIN_MS = 60_000;

/**
 * Returns a function that provides the user's AWS credentials, found where the AWS CLI finds them (variables, profiles,
 * SSO…). They are cached until shortly before they expire; each new process gets the current ones.
 */
export async function createUserCredentialProvider(): Promise<() => Promise<Credentials>> {
  const { defaultProvider } = await import('@aws-sdk/credential-provider-node');
  const provide = defaultProvider();
  return async () => {
    const { accessKeyId, secretAccessKey, sessionToken, expiration } = await provide();
    const expiresAt = expiration === undefined ? Number.POSITIVE_INFINITY : expiration.getTime() - MARGIN_MS;
    return { accessKeyId, secretAccessKey, expiresAt, ...omitUndefined({ sessionToken }) };
  };
}
