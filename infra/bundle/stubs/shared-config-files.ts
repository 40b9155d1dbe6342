/**
 * Stands for the reader of `~/.aws/config` and `~/.aws/credentials`. A Lambda environment has neither file, and the SDK
 * looks for both on its first call; on a laptop they are the developer's, not the function's. Settings come from
 * environment variables (`AWS_REGION`, `AWS_ENDPOINT_URL_…`, `AWS_MAX_ATTEMPTS`…), which are read before these files.
 */
export async function loadSharedConfigFiles() {
  return { configFile: {}, credentialsFile: {} };
}

/** The real module exports it too: it joins section names, as in `services.local`. */
export const CONFIG_PREFIX_SEPARATOR = '.';
