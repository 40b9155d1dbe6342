import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'lambent-home-'));
});
afterAll(() => rm(home, { recursive: true }));

interface Result {
  readonly status: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the file of a command in a shell without credentials. */
function run(file: string, args: readonly string[], variables: Readonly<Record<string, string>> = {}): Promise<Result> {
  const env = { PATH: process.env['PATH'], HOME: home, AWS_EC2_METADATA_DISABLED: 'true', ...variables };
  return new Promise((resolve) => {
    execFile(process.execPath, [`infra/${file}.ts`, ...args], { env }, (error, stdout, stderr) => {
      resolve({ status: error?.code ?? 0, stdout, stderr });
    });
  });
}

const COMMANDS = [
  'package',
  'deploy/deploy',
  'deploy/remove',
  'operate/doctor',
  'operate/admin',
  'operate/tenant',
] as const;

describe('the commands of operators', () => {
  it.each(COMMANDS)('%s prints its usage for --help, and does nothing else', async (file) => {
    const { status, stdout, stderr } = await run(file, ['--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^usage:\n {2}npm run /);
  });

  it.each(COMMANDS)('%s rejects an unknown option with the nearest known one, and prints its usage', async (file) => {
    const { status, stderr } = await run(file, ['--stgae', 'dev']);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^unknown option --stgae; did you mean --stage\?\n\nusage:\n/);
  });
});

describe('a shell without usable credentials', () => {
  const commands = [
    ['deploy/deploy', ['--stage', 'dev'], 'the stage dev in eu-west-1'],
    ['deploy/remove', ['--stage', 'dev'], 'the stage dev in eu-west-1'],
    ['operate/doctor', ['--stage', 'dev'], 'lambent-dev in eu-west-1'],
    ['operate/admin', ['bootstrap', '--stage', 'dev'], 'the stage dev in eu-west-1'],
    ['operate/tenant', ['erase', 'acme', '--stage', 'dev'], 'lambent-dev-keys'],
  ] as const;

  // `deploy` prints nothing else: it must not package before.
  it.each(commands)('%s says in one line that there are no credentials', async (file, args, place) => {
    const { status, stdout, stderr } = await run(file, args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/^.*: no AWS credentials: sign in .*AWS_SECRET_ACCESS_KEY\n$/);
    expect(stderr).toContain(place);
  });

  it('an unknown profile is named', async () => {
    const { stderr } = await run('operate/doctor', ['--stage', 'dev'], { AWS_PROFILE: 'misspelt' });
    expect(stderr).toMatch(/: the profile misspelt \(AWS_PROFILE\) has no credentials: /);
  });

  it.each([
    ['operate/doctor', ['--stage', 'dev']],
    ['operate/admin', ['bootstrap', '--stage', 'dev']],
    ['operate/tenant', ['erase', 'acme', '--stage', 'dev']],
  ])('%s says in one line that the endpoint can’t be reached', async (file, args) => {
    const { stderr } = await run(file, args, {
      ...{ AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_MAX_ATTEMPTS: '1' },
      AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
    });
    expect(stderr.trimEnd()).toMatch(/can't be reached \(ECONNREFUSED\): check the network and the region$/);
  });

  it('a missing region is reported with the option that sets it', async () => {
    const credentials = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' };
    const tables = { KEYS_TABLE: 'keys', ACCESS_TABLE: 'access', LIMITS_TABLE: 'limits', RECORD_FUNCTION: 'record' };
    const { stderr } = await run('operate/tenant', ['erase', 'acme'], { ...credentials, ...tables });
    expect(stderr).toBe('keys: no AWS region: add --region, or set AWS_REGION\n');
  });
});
