import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { installDependencies } from '../../infra/install.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-install-'));
  // The only dependency is a local archive, so that npm needs no network.
  await writeJson('current/package.json', { name: 'current', version: '1.0.0' });
  execFileSync('npm', ['pack', './current'], { cwd: folder, stdio: 'ignore' });
  const dependencies = { current: `file:${join(folder, 'current-1.0.0.tgz')}` };
  await writeJson('package.json', { dependencies });
  await writeJson('package-lock.json', {
    lockfileVersion: 3,
    packages: { '': { dependencies }, 'node_modules/current': { version: '1.0.0', resolved: dependencies.current } },
  });
  await writeFile(join(folder, '.npmrc'), 'audit=false\n');
});
afterEach(() => rm(folder, { recursive: true }));

describe('installDependencies', () => {
  it('installDependencies does not touch a tree that matches the lockfile', async () => {
    await installDependencies(folder);
    await writeJson('node_modules/marker.json', {});
    await installDependencies(folder);
    expect(existsSync(join(folder, 'node_modules/current/package.json'))).toBe(true);
    expect(existsSync(join(folder, 'node_modules/marker.json'))).toBe(true);
  });

  it('installDependencies replaces a tree that holds a package the lockfile does not name', async () => {
    await writeJson('node_modules/.package-lock.json', { packages: { 'node_modules/old': { version: '1.0.0' } } });
    await writeJson('node_modules/old/package.json', { name: 'old' });
    await installDependencies(folder);
    expect(existsSync(join(folder, 'node_modules/current/package.json'))).toBe(true);
    expect(existsSync(join(folder, 'node_modules/old'))).toBe(false);
  });

  it('installDependencies keeps optional packages that a lockfile made on another system lacks', async () => {
    await installDependencies(folder, 'install');
    const current = { version: '1.0.0', resolved: `file:${join(folder, 'current-1.0.0.tgz')}` };
    const packages = { 'node_modules/current': current, 'node_modules/native': { version: '1.0.0', optional: true } };
    await writeJson('node_modules/.package-lock.json', { packages });
    await writeJson('node_modules/native/package.json', { name: 'native' });
    await installDependencies(folder, 'install');
    expect(existsSync(join(folder, 'node_modules/native'))).toBe(true);
  });

  it('installDependencies fails if npm cannot install a package of the lockfile', async () => {
    await rm(join(folder, 'current-1.0.0.tgz'));
    await expect(installDependencies(folder)).rejects.toThrow('npm ci failed');
  });
});

async function writeJson(file: string, content: object): Promise<void> {
  await mkdir(join(folder, file, '..'), { recursive: true });
  await writeFile(join(folder, file), JSON.stringify(content));
}
