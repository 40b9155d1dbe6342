import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readStagePackage } from '../../../infra/deploy/stage-package.ts';

const STATE = JSON.stringify({
  service: { service: 'lambent', provider: { stage: 'dev', region: 'eu-west-1' }, custom: { settings: {} } },
});
const TEMPLATE = JSON.stringify({ Resources: {} });

it.each([
  ['a truncated record', STATE.slice(0, 40), TEMPLATE, 'serverless-state.json is damaged. Package the stage again.'],
  ['a record of another format', '{}', TEMPLATE, 'serverless-state.json is damaged. Package the stage again.'],
  ['a truncated template', STATE, TEMPLATE.slice(0, 9), 'The template is damaged. Package the stage again.'],
])('a package with %s is refused with what to do about it', async (_, state, template, message) => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'lambent-test-'));
  await writeFile(join(folder.path, 'serverless-state.json'), state);
  await writeFile(join(folder.path, 'cloudformation-template-update-stack.json'), template);
  await writeFile(join(folder.path, 'cloudformation-template-create-stack.json'), TEMPLATE);
  await expect(readStagePackage(folder.path)).rejects.toThrow(message);
});

it('a folder without a package is refused with what to do about it', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'lambent-test-'));
  await expect(readStagePackage(folder.path)).rejects.toThrow('Run npm run package first.');
});
