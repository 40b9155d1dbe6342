/** AWS credentials, as variables of a function's process. */
export interface Credentials {
  readonly variables: Readonly<Record<string, string>>;
  /** Epoch ms after which they are no use; `Infinity` for those that last. */
  readonly expiresAt: number;
}

/** What the stand-ins accept. No real credentials, so that nothing can reach AWS by mistake. */
const DUMMY: Credentials = {
  variables: { AWS_ACCESS_KEY_ID: 'local', AWS_SECRET_ACCESS_KEY: 'local' },
  expiresAt: Number.POSITIVE_INFINITY,
};

/**
 * Takes out of an environment what `.local/env` of an earlier run put there: credentials that only stand-ins accept are not the
 * user's, and the endpoints beside them are gone.
 */
export function forgetStandIns(env: NodeJS.ProcessEnv): void {
  if (env['AWS_ACCESS_KEY_ID'] !== DUMMY.variables['AWS_ACCESS_KEY_ID']) return;
  const names = Object.keys(env).filter((name) => name in DUMMY.variables || name.startsWith('AWS_ENDPOINT_URL'));
  for (const name of names) delete env[name];
}

/** Credentials for the stand-ins alone. */
export function dummyCredentials(): Promise<Credentials> {
  return Promise.resolve(DUMMY);
}

/**
 * Processes are replaced this long before their credentials expire. Requests are signed when they begin, and the
 * provider chain never hands out less than five minutes.
 */
const MARGIN_MS = 60_000;

/**
 * The user's own AWS credentials, from wherever the AWS CLI would find them (variables, profiles, SSO…). They are kept
 * until shortly before they expire; each new process gets the current ones.
 */
export async function userCredentials(): Promise<() => Promise<Credentials>> {
  const { defaultProvider } = await import('@aws-sdk/credential-provider-node');
  const provide = defaultProvider();
  return async () => {
    const { accessKeyId, secretAccessKey, sessionToken, expiration } = await provide();
    return {
      variables: {
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
        ...(sessionToken === undefined ? {} : { AWS_SESSION_TOKEN: sessionToken }),
      },
      expiresAt: expiration === undefined ? Number.POSITIVE_INFINITY : expiration.getTime() - MARGIN_MS,
    };
  };
}
