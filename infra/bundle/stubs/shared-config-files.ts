/**
 * Replaces the reader of `~/.aws/config` and `~/.aws/credentials`. A Lambda environment has neither file, but the SDK
 * looks for both at its first call. On a laptop they are the developer's. Settings come from environment variables
 * (`AWS_REGION`, `AWS_ENDPOINT_URL_…`, `AWS_MAX_ATTEMPTS`…), which the SDK reads before these files.
 */
export async function loadSharedConfigFiles() {
  return { configFile: {}, credentialsFile: {} };
}

/** Joins section names, as in `services.local`. The replaced module exports it too. */
export const CONFIG_PREFIX_SEPARATOR = '.';
