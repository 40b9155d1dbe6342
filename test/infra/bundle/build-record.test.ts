import { mkdir, mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bundleFunctions } from '../../../infra/bundle/build.ts';
import { InputDigests, readBuildRecord } from '../../../infra/bundle/build-record.ts';

/** Files that changed this shortly before a build are not recorded, since file systems round their change times. */
const SETTLED_MS = 150;

let folder: string;

// A project: a function that imports a module, which imports a package.
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-record-'));
  await write(
    'function.ts',
    "import 'node:fs';\nexport { handler } from './lib/answer.ts';\nexport const hooks = () => import('node:async_hooks');",
  );
  await write('lib/answer.ts', "import { word } from 'words';\nexport const handler = () => ['one', word];");
  await write('node_modules/words/package.json', createManifest('./a.js'));
  await write('node_modules/words/LICENSE', 'Do as you like.');
  await write('node_modules/words/a.js', "export const word = 'from a';");
  await write('node_modules/words/b.js', "export const word = 'from b';");
  await sleep(SETTLED_MS);
});
afterEach(() => rm(folder, { recursive: true }));

async function write(path: string, text: string): Promise<void> {
  await mkdir(join(folder, 'project', path, '..'), { recursive: true });
  await writeFile(join(folder, 'project', path), text);
}

function createManifest(main: string): string {
  return JSON.stringify({ name: 'words', version: '1.0.0', license: '0BSD', main });
}

const output = (path = 'function/index.mjs') => join(folder, 'out', path);

/** Bundles the project. */
async function bundle(): Promise<{ readonly code: string; readonly isRebuilt: boolean }> {
  const builtAt = async () => (await stat(output()).catch(() => undefined))?.ino;
  const before = await builtAt();
  await bundleFunctions({ outDir: join(folder, 'out'), functions: [join(folder, 'project/function.ts')] });
  return { code: await readFile(output(), 'utf8'), isRebuilt: (await builtAt()) !== before };
}

describe('a second build', () => {
  it('a second build is skipped if nothing has changed', async () => {
    expect((await bundle()).isRebuilt).toBe(true);
    expect((await bundle()).isRebuilt).toBe(false);
  });

  it.each([
    { change: 'the function', path: 'function.ts', text: "export const handler = () => 'two';", code: 'two' },
    { change: 'a module', path: 'lib/answer.ts', text: "export const handler = () => 'three';", code: 'three' },
    {
      change: 'a file of a package',
      path: 'node_modules/words/a.js',
      text: "export const word = 'four';",
      code: 'four',
    },
    {
      change: 'the entry point of a package',
      path: 'node_modules/words/package.json',
      text: createManifest('./b.js'),
      code: 'from b',
    },
    {
      change: 'a package that takes precedence over another',
      path: 'lib/node_modules/words.js',
      text: "export const word = 'five';",
      code: 'five',
    },
    {
      change: 'compiler options',
      path: 'tsconfig.json',
      text: '{ "compilerOptions": { "paths": { "words": ["./node_modules/words/b.js"] } } }',
      code: 'from b',
    },
  ])('a second build happens after a change of $change', async ({ path, text, code }) => {
    await bundle();
    await write(path, text);
    expect((await bundle()).code).toContain(code);
  });

  it('a second build happens after a change that keeps size and modification time', async () => {
    await bundle();
    const file = join(folder, 'project/lib/answer.ts');
    const { mtime, atime } = await stat(file);
    await write('lib/answer.ts', (await readFile(file, 'utf8')).replace('one', 'two'));
    await utimes(file, atime, mtime);
    expect((await bundle()).code).toContain('two');
  });

  it('a second build happens if the change came while the first one ran', async () => {
    const first = bundleFunctions({ outDir: join(folder, 'out'), functions: [join(folder, 'project/function.ts')] });
    await write('lib/answer.ts', "export const handler = () => 'late';");
    await first;
    expect((await bundle()).code).toContain('late');
  });

  it('a second build restores a bundle that was edited, lost a file or gained one', async () => {
    const { code } = await bundle();
    await writeFile(output(), 'edited');
    expect((await bundle()).code).toBe(code);
    await writeFile(output('function/other.mjs'), '');
    await bundle();
    await expect(stat(output('function/other.mjs'))).rejects.toThrow('ENOENT');
    await rm(output());
    expect((await bundle()).code).toBe(code);
  });

  it('a second build happens if the record is damaged', async () => {
    await bundle();
    await writeFile(output('.meta/function.record.json'), '{"inputs":');
    expect((await bundle()).isRebuilt).toBe(true);
  });
});

describe('a fingerprint', () => {
  it('a fingerprint does not depend on other functions whose inputs were digested before', async () => {
    await bundle();
    const inputs = readBuildRecord(output('.meta/function.record.json'))?.inputs ?? [];
    const shared = new InputDigests();
    shared.fingerprint([join(folder, 'project/node_modules/words/b.js'), join(folder, 'project/function.ts')]);
    expect(shared.fingerprint(inputs)).toBe(new InputDigests().fingerprint(inputs));
  });

  it('a fingerprint covers the bundler itself', () => {
    const isUnchanged = (since: number) => new InputDigests().isUnchangedSince(since);
    expect(isUnchanged(Date.now())).toBe(true);
    const { timeOrigin } = performance;
    try {
      // As if this process had started before the bundler's files were written.
      Object.defineProperty(performance, 'timeOrigin', { value: 0, configurable: true });
      expect(isUnchanged(Date.now())).toBe(false);
    } finally {
      Object.defineProperty(performance, 'timeOrigin', { value: timeOrigin, configurable: true });
    }
  });
});
