import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { printService } from '../../../local/service/print.ts';

const FIXTURE = resolve(import.meta.dirname, '../fixtures/service/serverless.yml');

let root: string;

/** Copies the fixture, and moves its setting `color` to a file in `infra/` that names an environment variable. */
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'lambent-print-'));
  await cp(FIXTURE, join(root, 'serverless.yml'));
  await mkdir(join(root, 'infra'));
  const yaml = await readFile(FIXTURE, 'utf8');
  await writeFile(join(root, 'serverless.yml'), yaml.replace('color: red', `color: $\{file(infra/color.yml):color}`));
  await writeFile(join(root, 'infra', 'color.yml'), `color: dark-$\{env:LAMBENT_TEST_COLOR, 'grey'}\n`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(root, { recursive: true });
});

async function print(): Promise<string> {
  const service = await printService({ root, stage: 'local' });
  return Object(service).provider.environment.COLOR;
}

const cachedFiles = () => readdir(join(root, '.build', 'local'));

describe('printService', () => {
  it('printService runs osls again after a source changes but keeps its size and modification time', async () => {
    expect(await print()).toBe('dark-grey');
    const file = join(root, 'infra', 'color.yml');
    const { atime, mtime } = await stat(file);
    await writeFile(file, (await readFile(file, 'utf8')).replace('dark', 'pale'));
    await utimes(file, atime, mtime);
    expect(await print()).toBe('pale-grey');
  });

  it('printService runs osls again if a variable in the definition changes, but not for other variables', async () => {
    await print();
    vi.stubEnv('LAMBENT_TEST_OTHER', 'blue');
    vi.stubEnv('MODELS_FILE', '/elsewhere/models.json');
    await print();
    expect(await cachedFiles()).toHaveLength(1);
    vi.stubEnv('LAMBENT_TEST_COLOR', 'green');
    expect(await print()).toBe('dark-green');
    expect(await cachedFiles()).toHaveLength(2);
  });
});
