import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findTemplateFaults } from '../../../infra/check/findings.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lambent-findings-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('findTemplateFaults', () => {
  let findings: string[];
  beforeAll(async () => {
    const Resources = {
      UnknownProperty: { Type: 'AWS::SQS::Queue', Properties: { QueueNam: 'a' } },
      WrongValue: { Type: 'AWS::Logs::LogGroup', Properties: { RetentionInDays: 31 } },
      UnknownType: { Type: 'AWS::SNS::Tropic', Properties: {} },
      BadPractice: { Type: 'AWS::SNS::Topic', Properties: {} },
      Tagged: { Type: 'AWS::SQS::Queue', Properties: { Tags: [{ Key: 'lambent:stage', Value: 'dev' }] } },
      RestApi: { Type: 'AWS::ApiGateway::RestApi', Properties: { Name: 'api', Policy: '' } },
    };
    findings = (await findTemplateFaults({ Resources }, folder)).map(({ resource, text }) => `${resource}: ${text}`);
  });

  it('findTemplateFaults finds a property that the resource type does not have', () => {
    expect(findings).toContainEqual(expect.stringMatching(/^UnknownProperty: .*'QueueNam' was unexpected/));
  });

  it('findTemplateFaults finds a value that the property does not allow', () => {
    expect(findings).toContainEqual(expect.stringMatching(/^WrongValue: .*RetentionInDays/));
  });

  it('findTemplateFaults finds a resource type that does not exist', () => {
    expect(findings).toContainEqual(expect.stringContaining("'AWS::SNS::Tropic'"));
  });

  it('findTemplateFaults finds a breach of good practice', () => {
    expect(findings).toContainEqual(expect.stringMatching(/^BadPractice: The SNS Topic/));
  });

  it('findTemplateFaults finds a resource that takes tags and lacks those of the stage', () => {
    const untagged = findings.filter((finding) =>
      finding.endsWith('takes tags, but this resource has no lambent:stage.'),
    );
    expect(untagged.map((finding) => finding.split(':')[0])).toEqual(
      expect.arrayContaining(['UnknownProperty', 'WrongValue', 'BadPractice', 'RestApi']),
    );
    expect(untagged).not.toContainEqual(expect.stringMatching(/^Tagged:/));
  });

  it('findTemplateFaults accepts the empty policy that osls gives a REST API', () => {
    expect(findings.filter((finding) => finding.startsWith('RestApi:'))).not.toContainEqual(
      expect.stringMatching(/policy/i),
    );
  });

  it('findTemplateFaults rejects a template with a dangling reference, and names the reference', async () => {
    const Resources = { Topic: { Type: 'AWS::SNS::Topic', Properties: { TopicName: { Ref: 'Nothing' } } } };
    const unreadable = findTemplateFaults({ Resources }, await mkdtemp(join(folder, 'unreadable-')));
    await expect(unreadable).rejects.toThrow(/'Nothing' not found/);
  });
});
