import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UsageError } from '../../../infra/operate/command-line.ts';
import { checkStageOption, resolveStage } from '../../../infra/operate/stage.ts';

let folder: string;
let stagesFile: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-stages-'));
  stagesFile = join(folder, 'stages.json');
  await writeFile(stagesFile, JSON.stringify({ east: { account: '123456789012', region: 'us-east-1' } }));
});
afterAll(() => rm(folder, { recursive: true }));

it.each(['dev', 'Prod-2', 'a'.repeat(45)])('a stage can have the name %s', (name) => {
  expect(checkStageOption(name)).toBe(name);
});

it.each(['', '../x', 'a b', 'dev\n', 'dévé', '1st', 'a'.repeat(47), '__proto__', 'constructor', 'toString'])(
  'a stage cannot have the name %j',
  (name) => {
    expect(() => checkStageOption(name)).toThrow(UsageError);
  },
);

describe('resolveStage', () => {
  it.each([
    ['east', undefined, 'us-east-1'],
    ['east', 'eu-central-1', 'eu-central-1'],
    ['new', undefined, 'eu-west-1'],
  ])('the region of the stage %s with --region %s is %s', async (stage, region, expected) => {
    expect(await resolveStage({ stage, region }, stagesFile)).toMatchObject({ name: stage, region: expected });
  });

  it('an invalid record of stages is named', async () => {
    await writeFile(join(folder, 'bad.json'), '{"dev": {"account": "1"}}');
    await expect(resolveStage({ stage: 'dev' }, join(folder, 'bad.json'))).rejects.toThrow('bad.json');
  });
});
