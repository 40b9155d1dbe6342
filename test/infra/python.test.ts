import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { installRequirements, mustRunPython } from '../../infra/python.ts';

const hasPython = await mustRunPython();

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-python-'));
  await writeFile(join(folder, 'requirements.txt'), '');
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

describe('mustRunPython', () => {
  it('mustRunPython is true in CI even without Python, so that CI fails instead of skipping', async () => {
    expect(await mustRunPython({ PATH: folder, CI: 'true' })).toBe(true);
    expect(await mustRunPython({ PATH: folder })).toBe(false);
  });

  it('mustRunPython is false if python3 fails the check of its version', async () => {
    const old = join(folder, 'old');
    await mkdir(old);
    await writeFile(join(old, 'python3'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    expect(await mustRunPython({ PATH: `${old}:/usr/bin:/bin` })).toBe(false);
  });
});

describe('installRequirements', () => {
  it('installRequirements names the folder and what it needs if there is no Python', async () => {
    vi.stubEnv('PATH', folder);
    await expect(installRequirements(folder)).rejects.toThrow(/need python3, 3\.11 or newer/);
    vi.unstubAllEnvs();
  });

  it.skipIf(!hasPython)(
    'installRequirements installs once until the requirements change, and only with hashes',
    async () => {
      const python = await installRequirements(folder);
      const { mtimeMs } = await stat(dirname(python));
      expect(await installRequirements(folder)).toBe(python);
      expect((await stat(dirname(python))).mtimeMs).toBe(mtimeMs);
      await writeFile(join(folder, 'requirements.txt'), 'six==1.17.0\n');
      await expect(installRequirements(folder)).rejects.toThrow(/pip install failed/);
    },
  );
});
