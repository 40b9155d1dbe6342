import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readModelRegistry } from '../../../shared/inference/read-registry.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-registry-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('readModelRegistry', () => {
  it('readModelRegistry returns the models of the file', async () => {
    const file = join(folder, 'models.json');
    await writeFile(file, JSON.stringify({ models: { default: { targets: [{ provider: 'bedrock', model: 'm' }] } } }));
    expect(Object.keys(readModelRegistry(file).models)).toEqual(['default']);
  });

  it.each([
    ['missing.json', undefined, "can't be read: ENOENT: no such file or directory"],
    ['text.json', 'no JSON', 'is not JSON'],
    ['empty.json', '{}', 'is not valid'],
  ])('readModelRegistry names the file %s in its error', async (name, text, problem) => {
    const file = join(folder, name);
    if (text !== undefined) await writeFile(file, text);
    expect(() => readModelRegistry(file)).toThrow(expect.objectContaining({ code: 'configuration' }));
    expect(() => readModelRegistry(file)).toThrow(`${file} ${problem}`);
  });
});
