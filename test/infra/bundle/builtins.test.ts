import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';

const BUNDLES = resolve(import.meta.dirname, '../../../.build');

it.each(['authorize', 'chat'])('the bundle of %s reads no export of node:http that loads undici', async (name) => {
  const folder = join(BUNDLES, name);
  const files = (await readdir(folder)).filter((file) => file.endsWith('.mjs'));
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
  expect(texts.join('\n')).not.toMatch(/\bCloseEvent\b/);
});
