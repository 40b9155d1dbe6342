import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

interface LockedPackage {
  readonly integrity?: string;
  readonly resolved?: string;
  /** Part of another package's archive, whose integrity covers it. */
  readonly inBundle?: boolean;
}

const ROOT = join(import.meta.dirname, '../..');
const lockfiles = execFileSync('git', ['ls-files', '*package-lock.json'], { cwd: ROOT, encoding: 'utf8' });

describe.each(lockfiles.trim().split('\n'))('%s', (file) => {
  // npm omits the integrity of packages that it finds installed: update a lockfile where there is no node_modules.
  it(`${file} has an integrity for every package`, async () => {
    const packages = await readPackages(file);
    expect(packages.filter(([, { integrity, inBundle }]) => integrity === undefined && inBundle !== true)).toEqual([]);
  });

  it(`${file} names no registry host, so that npm uses the configured one`, async () => {
    expect((await readPackages(file)).filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
  });
});

it('CI uses each action by the hash of a commit, with its version as a comment', async () => {
  const workflows = execFileSync('git', ['ls-files', '.github/workflows'], { cwd: ROOT, encoding: 'utf8' });
  const texts = await Promise.all(
    workflows
      .trim()
      .split('\n')
      .map((file) => readFile(join(ROOT, file), 'utf8')),
  );
  const actions = texts.flatMap((text) => text.match(/(?<=uses: ).*/g) ?? []);
  expect(actions.length).toBeGreaterThan(0);
  expect(actions.filter((action) => !/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+(\.\d+){2}$/.test(action))).toEqual([]);
});

const requirements = execFileSync('git', ['ls-files', '*requirements.txt'], { cwd: ROOT, encoding: 'utf8' });

describe.each(requirements.trim().split('\n'))('%s', (file) => {
  it(`${file} pins each package to one version with hashes, and names no registry host`, async () => {
    const text = (await readFile(join(ROOT, file), 'utf8')).replaceAll(/^#.*\n/gm, '');
    const packages = text.replaceAll('\\\n', '').trim().split('\n');
    for (const each of packages) expect(each).toMatch(/^[\w.-]+==[\w.]+( ; [^@]+?)?( +--hash=sha256:[0-9a-f]{64})+$/);
    expect(text).not.toContain('://');
  });
});

async function readPackages(file: string): Promise<[path: string, LockedPackage][]> {
  const { packages } = JSON.parse(await readFile(join(ROOT, file), 'utf8')) as {
    packages: Record<string, LockedPackage>;
  };
  return Object.entries(packages).filter(([path]) => path !== '');
}
