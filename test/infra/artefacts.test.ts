import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { oslsPackage, packageTemplate } from '../../infra/osls-package.ts';
import type { Template } from '../../infra/template.ts';
import { ofType } from './packaged.ts';
import { filesOf } from './zip.ts';

let folder: string;
let template: Template;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-artefacts-'));
  template = await packageTemplate(folder);
});
afterAll(() => rm(folder, { recursive: true }));

const readZip = (name: string) => readFile(join(folder, '.serverless', `${name}.zip`));

test('a zip holds its function, at the place where the handler is looked for, and nothing else', async () => {
  for (const { properties } of ofType(template, 'AWS::Lambda::Function')) {
    const name = String(properties['FunctionName']).replace('lambent-dev-', '');
    const files = filesOf(await readZip(name));
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

test('the same bundles make the same zips, so that what did not change is not deployed', async () => {
  const names = ['authorize', 'chat', 'warmup'];
  const before = await Promise.all(names.map((name) => readZip(name)));
  await oslsPackage({ serviceDir: folder, outDir: join(folder, '.serverless') });
  expect(await Promise.all(names.map((name) => readZip(name)))).toEqual(before);
});
