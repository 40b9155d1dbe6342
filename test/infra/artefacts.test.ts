import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { computeSha256, listArtefacts } from '../../infra/artefacts.ts';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { linkService, packageTemplate, packageWithOsls } from '../../infra/osls-package.ts';
import type { Template } from '../../infra/template.ts';
import { findByType } from './packaged.ts';
import { readZipEntries } from './zip.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-artefacts-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('a packaged zip', () => {
  let template: Template;
  let serviceDir: string;
  beforeAll(async () => {
    serviceDir = await mkdtemp(join(folder, 'empty-'));
    template = await packageTemplate(serviceDir);
  });

  const readZip = (name: string) => readFile(join(serviceDir, '.serverless', `${name}.zip`));

  it('a packaged zip has its SHA-256 in its place in the deployment bucket', async () => {
    const artefacts = listArtefacts(template.Resources);
    expect(artefacts).toHaveLength(findByType(template, 'AWS::Lambda::Function').length);
    for (const { file, key, sha256 } of artefacts) {
      expect(sha256).toBe(computeSha256(await readFile(join(serviceDir, '.serverless', file))));
      expect(key).toBe(`code/${sha256}/${file}`);
    }
  });

  it('a packaged zip holds only its function, at the path that the handler setting names', async () => {
    for (const { properties } of findByType(template, 'AWS::Lambda::Function')) {
      const name = String(properties['FunctionName']).replace('lambent-dev-', '');
      const files = readZipEntries(await readZip(name));
      expect([...files.keys()]).toEqual([`.build/${name}/index.mjs`]);

      const task = join(folder, 'task', name);
      for (const [path, content] of files) {
        await mkdir(dirname(join(task, path)), { recursive: true });
        await writeFile(join(task, path), content);
      }
      const [module, handler = ''] = String(properties['Handler']).split(/\.(?=[^.]*$)/);
      expect(await import(join(task, `${module}.mjs`))).toHaveProperty(handler, expect.any(Function));
    }
  });
});

describe('packaging', () => {
  it('packaging makes byte-identical zips and templates from the same sources in two folders', async () => {
    const first = await packageBundles();
    const second = await packageBundles();
    expect([...second.keys()]).toEqual([...first.keys()]);
    expect([...first.keys()]).toEqual(expect.arrayContaining(['chat.zip', UPDATE_TEMPLATE]));
    for (const [file, contents] of first) expect(second.get(file)?.equals(contents), file).toBe(true);
  });
});

const UPDATE_TEMPLATE = 'cloudformation-template-update-stack.json';

/** Bundles and packages the service in a new folder. Returns its zips and templates. */
async function packageBundles(): Promise<Map<string, Buffer>> {
  const serviceDir = await mkdtemp(join(folder, 'bundled-'));
  await linkService(serviceDir);
  await bundleFunctions({ outDir: join(serviceDir, '.build') });
  const outDir = join(serviceDir, '.serverless');
  await packageWithOsls({ serviceDir, outDir });
  // osls's own record of the packaging holds absolute paths, and is neither a zip nor a template.
  const files = (await readdir(outDir)).filter((file) => file !== 'serverless-state.json').sort();
  return new Map(await Promise.all(files.map(async (file) => [file, await readFile(join(outDir, file))] as const)));
}
