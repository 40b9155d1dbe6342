import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isPythonRule, lintTemplates } from '../../../infra/check/python-linters.ts';
import { mustRunPython } from '../../../infra/python.ts';

const hasPython = await mustRunPython();

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-linters-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe.skipIf(!hasPython)('lintTemplates', () => {
  it('lintTemplates finds the breaches of cfn-lint and checkov in each template of a folder', async () => {
    const Unencrypted = { Type: 'AWS::SNS::Topic' };
    const Misspelt = { Type: 'AWS::SQS::Queue', Properties: { QueueNam: 'a' } };
    await writeFile(join(folder, '0.json'), JSON.stringify({ Resources: { Unencrypted } }));
    await writeFile(
      join(folder, '1.json'),
      JSON.stringify({ Parameters: { A: { Type: 'String' } }, Resources: { Misspelt } }),
    );
    const findings = await lintTemplates(folder);
    expect(findings.map(({ rule, resource }) => `${resource} ${rule}`).sort()).toEqual([
      'Misspelt CKV_AWS_27',
      'Misspelt E3002',
      'Template W2001',
      'Unencrypted CKV_AWS_26',
    ]);
    expect(findings.every(({ rule }) => isPythonRule(rule))).toBe(true);
  });

  it('lintTemplates rejects a template that is not valid JSON', async () => {
    const broken = await mkdtemp(join(folder, 'broken-'));
    await writeFile(join(broken, '0.json'), '{"Resources": {"Topic": {"Ty');
    await expect(lintTemplates(broken)).rejects.toThrow(/can't parse a template/);
  });
});

describe('isPythonRule', () => {
  it('isPythonRule is false for the rules of the validators that need no Python', () => {
    for (const rule of ['AwsSolutions-S1', 's3_bucket_logging_enabled_check', 'AwsSolutions-EC26', 'ecs_x_check'])
      expect(isPythonRule(rule)).toBe(false);
  });
});
