import { rm, writeFile } from 'node:fs/promises';

/**
 * Writes a shell script that sets what AWS's CLI, or any program with an AWS SDK, needs to use this cloud.
 * @param url base URL of the API
 * @param variables endpoints, and names of resources
 * @returns deletes the file, which is of no use once the cloud has stopped
 */
export async function publishEnvironment(
  file: string,
  url: string,
  region: string,
  variables: Readonly<Record<string, string>>,
): Promise<() => Promise<void>> {
  const all = {
    LAMBENT_URL: url,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    ...variables,
  };
  const lines = Object.entries(all).map(([name, value]) => `export ${name}=${value}\n`);
  await writeFile(file, `# Source this file to use the local cloud with AWS tools.\n${lines.join('')}`);
  return () => rm(file, { force: true });
}

/** Names variables after logical ids: `AccessTable` becomes `ACCESS_TABLE`, followed by the suffix. */
export function nameVariables(byLogicalId: Readonly<Record<string, string>>, suffix: string): Record<string, string> {
  const toUpperCase = (logicalId: string) => logicalId.replace(/(?<=[a-z0-9])(?=[A-Z])/g, '_').toUpperCase();
  return Object.fromEntries(
    Object.entries(byLogicalId).map(([logicalId, value]) => [`${toUpperCase(logicalId)}${suffix}`, value]),
  );
}
