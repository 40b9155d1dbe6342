import { rm, writeFile } from 'node:fs/promises';
import type { AccessKey } from './access/access-keys.ts';
import { toVariables } from './credentials.ts';

/**
 * Writes a shell script that sets the variables with which the AWS CLI and programs with an AWS SDK use this cloud.
 * @param url base URL of the API
 * @param variables endpoints, and names of resources
 * @returns a function that deletes the file; call it when the cloud stops
 */
export async function publishEnvironment(
  file: string,
  url: string,
  region: string,
  credentials: AccessKey,
  variables: Readonly<Record<string, string>>,
): Promise<() => Promise<void>> {
  const all = {
    LAMBENT_URL: url,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    ...toVariables(credentials),
    ...variables,
  };
  const lines = Object.entries(all).map(([name, value]) => `export ${name}=${value}\n`);
  // A profile would take precedence over the credentials, and a session token belongs to other credentials.
  const text = `# Source this file to use the local cloud with AWS tools.\nunset AWS_PROFILE AWS_SESSION_TOKEN\n${lines.join('')}`;
  await rm(file, { force: true });
  await writeFile(file, text, { mode: 0o600 });
  return () => rm(file, { force: true });
}

/** Replaces logical ids with variable names: `AccessTable` becomes `ACCESS_TABLE`, followed by the suffix. */
export function nameVariables(byLogicalId: Readonly<Record<string, string>>, suffix: string): Record<string, string> {
  const toUpperCase = (logicalId: string) => logicalId.replace(/(?<=[a-z0-9])(?=[A-Z])/g, '_').toUpperCase();
  return Object.fromEntries(
    Object.entries(byLogicalId).map(([logicalId, value]) => [`${toUpperCase(logicalId)}${suffix}`, value]),
  );
}
