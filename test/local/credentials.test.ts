import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createUserCredentialProvider } from '../../local/credentials.ts';
import { closeAfterwards, startTestRunner, useCleanup } from './runners.ts';

useCleanup();
afterEach(() => void vi.unstubAllEnvs());

/**
 * Configures the AWS SDK with a single profile, whose keys a program prints, and hides this machine's own profiles.
 * Returns the time at which the keys expire.
 */
async function configureProfile(expiresInMs: number): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'lambent-'));
  closeAfterwards({ close: () => rm(dir, { recursive: true }) });
  const expiration = new Date(Date.now() + expiresInMs).toISOString();
  const keys = {
    Version: 1,
    AccessKeyId: 'AKIAUSER',
    SecretAccessKey: 'secret',
    SessionToken: 'token',
    Expiration: expiration,
  };
  await writeFile(join(dir, 'keys.json'), JSON.stringify(keys));
  await writeFile(join(dir, 'config'), `[profile work]\ncredential_process = cat ${join(dir, 'keys.json')}\n`);
  vi.stubEnv('AWS_CONFIG_FILE', join(dir, 'config'));
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', join(dir, 'none'));
  vi.stubEnv('AWS_PROFILE', 'work');
  vi.stubEnv('AWS_ACCESS_KEY_ID', undefined);
  return expiration;
}

describe("the user's credentials", () => {
  it("the user's credentials come from the SDK's credential chain, and count as expired a minute early", async () => {
    const expiration = await configureProfile(3_600_000);
    expect(await (await createUserCredentialProvider())()).toEqual({
      accessKeyId: 'AKIAUSER',
      secretAccessKey: 'secret',
      sessionToken: 'token',
      expiresAt: Date.parse(expiration) - 60_000,
    });
  });

  it("functions get the user's credentials, session token included", async () => {
    await configureProfile(3_600_000);
    const runner = await startTestRunner({ credentials: await createUserCredentialProvider() });
    expect(await runner.call('echo', { env: true })).toMatchObject({
      AWS_ACCESS_KEY_ID: 'AKIAUSER',
      AWS_SESSION_TOKEN: 'token',
    });
  });

  it("a call fails if the user's credentials cannot be read, and the runner keeps running", async () => {
    const runner = await startTestRunner({ credentials: () => Promise.reject(new Error('the session has expired')) });
    await expect(runner.call('echo', {})).rejects.toThrow('the session has expired');
    await expect(runner.call('echo', {})).rejects.toThrow('the session has expired');
  });
});
