/**
 * Replaces the reader of `~/.aws/config` and `~/.aws/credentials`. A Lambda environment has neither file, yet the SDK looks for both
 * at its first call; on a laptop they are the developer's. Settings come from environment variables (`AWS_REGION`,
 * `AWS_ENDPOINT_URL_…`, `AWS_MAX_ATTEMPTS`…), which the SDK reads before these files.
 */
export async function loadSharedConfigFiles() {
  return { configFile: {}, credentialsFile: {} };
}

/** Exported by the real module too: it joins section names, as in `services.local`. */
export const CONFIG_PREFIX_SEPARATOR = '.';
