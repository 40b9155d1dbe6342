import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findingsOf } from '../../infra/check/findings.ts';
import { SUPPRESSIONS, suppresses } from '../../infra/check/suppressions.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-findings-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('the validators of a template', () => {
  let findings: string[];
  beforeAll(async () => {
    const Resources = {
      UnknownProperty: { Type: 'AWS::SQS::Queue', Properties: { QueueNam: 'a' } },
      WrongValue: { Type: 'AWS::Logs::LogGroup', Properties: { RetentionInDays: 31 } },
      UnknownType: { Type: 'AWS::SNS::Tropic', Properties: {} },
      BadPractice: { Type: 'AWS::SNS::Topic', Properties: {} },
      RestApi: { Type: 'AWS::ApiGateway::RestApi', Properties: { Name: 'api', Policy: '' } },
    };
    findings = (await findingsOf({ Resources }, folder)).map(({ resource, text }) => `${resource}: ${text}`);
  });

  test('find a property that does not exist', () => {
    expect(findings).toContainEqual(expect.stringMatching(/^UnknownProperty: .*'QueueNam' was unexpected/));
  });

  test('find a value that a property may not have', () => {
    expect(findings).toContainEqual(expect.stringMatching(/^WrongValue: .*RetentionInDays/));
  });

  test('find a type that does not exist', () => {
    expect(findings).toContainEqual(expect.stringContaining("'AWS::SNS::Tropic'"));
  });

  test('find what is against good practice', () => {
    expect(findings).toContainEqual(expect.stringMatching(/^BadPractice: The SNS Topic/));
  });

  test("take osls's empty policy of a REST API for none", () => {
    expect(findings.filter((finding) => finding.startsWith('RestApi:'))).not.toContainEqual(
      expect.stringMatching(/policy/i),
    );
  });

  test('say why a template is none', async () => {
    const Resources = { Topic: { Type: 'AWS::SNS::Topic', Properties: { TopicName: { Ref: 'Nothing' } } } };
    const unreadable = findingsOf({ Resources }, await mkdtemp(join(folder, 'unreadable-')));
    await expect(unreadable).rejects.toThrow(/'Nothing' not found/);
  });
});

describe('a suppression', () => {
  const suppression = { rule: 'Rule[…]', resource: '…LogGroup', reason: 'Because.' };
  const finding = { rule: 'Rule[a]', resource: 'ChatLogGroup', text: '' };

  test('is about findings of its rule and its resources', () => {
    expect(suppresses(suppression, finding)).toBe(true);
    expect(suppresses(suppression, { ...finding, rule: 'Rule' })).toBe(false);
    expect(suppresses(suppression, { ...finding, rule: 'OtherRule[a]' })).toBe(false);
    expect(suppresses(suppression, { ...finding, resource: 'LogGroupRole' })).toBe(false);
    expect(suppresses({ ...suppression, resource: 'Chat' }, finding)).toBe(false);
  });

  test('has a reason', () => {
    for (const { reason } of SUPPRESSIONS) expect(reason).toMatch(/^[A-Z].{20,}\.$/);
  });
});
