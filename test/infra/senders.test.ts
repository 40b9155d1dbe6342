import { beforeAll, describe, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import { listStatements, packageStage } from './packaged.ts';

const RULE = 'arn:aws:events:eu-west-1:123456789012:rule/orders';
const TOPIC = 'arn:aws:sns:eu-west-1:123456789012:orders';
const ROLE = 'arn:aws:iam::222222222222:role/team/orders';
const QUEUE = { 'Fn::GetAtt': ['GenerationQueue', 'Arn'] };
const FOR_QUEUE = {
  'kms:EncryptionContext:aws:sqs:arn': {
    'Fn::Sub': `arn:\${AWS::Partition}:sqs:\${AWS::Region}:\${AWS::AccountId}:lambent-dev-generation`,
  },
};

let none: Template;
let some: Template;
beforeAll(async () => {
  [none, some] = await Promise.all([
    packageStage(),
    packageStage('--param', `senderSources=${RULE},${TOPIC}`, '--param', `senderPrincipals=${ROLE},333333333333`),
  ]);
});

const findStatement = (template: Template, place: string) =>
  listStatements(template).find(({ where }) => where === place)?.statement;

describe('senders outside of the account’s roles', () => {
  it('other senders are not admitted by default', () => {
    const allowed = listStatements(none).filter(
      ({ where, statement }) => /^GenerationQueuePolicy\//.test(where) && statement['Effect'] === 'Allow',
    );
    expect(allowed).toEqual([]);
    for (const sid of ['Sources', 'Principals']) expect(findStatement(none, `DataKey/${sid}`)).toBeUndefined();
  });

  it('the rules and topics of senderSources, and no others, may send and encrypt', () => {
    const fromSources = {
      Effect: 'Allow',
      Principal: { Service: ['events.amazonaws.com', 'sns.amazonaws.com'] },
      Condition: { ArnEquals: { 'aws:SourceArn': [RULE, TOPIC] } },
    };
    expect(findStatement(some, 'GenerationQueuePolicy/Sources')).toEqual({
      Sid: 'Sources',
      ...fromSources,
      Action: 'sqs:SendMessage',
      Resource: QUEUE,
    });
    expect(findStatement(some, 'DataKey/Sources')).toEqual({
      Sid: 'Sources',
      ...fromSources,
      Action: ['kms:Decrypt', 'kms:GenerateDataKey'],
      Resource: '*',
      Condition: { ...fromSources.Condition, StringEquals: FOR_QUEUE },
    });
  });

  it('the identities of senderPrincipals may send and encrypt, for this queue only and only through SQS', () => {
    const Principal = { AWS: [ROLE, '333333333333'] };
    expect(findStatement(some, 'GenerationQueuePolicy/Principals')).toEqual({
      Sid: 'Principals',
      Effect: 'Allow',
      Action: 'sqs:SendMessage',
      Resource: QUEUE,
      Principal,
    });
    expect(findStatement(some, 'DataKey/Principals')).toEqual({
      Sid: 'Principals',
      Effect: 'Allow',
      Action: ['kms:Decrypt', 'kms:GenerateDataKey'],
      Resource: '*',
      Principal,
      Condition: {
        StringEquals: { ...FOR_QUEUE, 'kms:ViaService': { 'Fn::Sub': `sqs.\${AWS::Region}.amazonaws.com` } },
      },
    });
  });

  it('no other queue admits senders', () => {
    const policies = listStatements(some).filter(
      ({ where, statement }) => /(Queue|Dlq)Policy\//.test(where) && statement['Effect'] === 'Allow',
    );
    expect(policies.map(({ where }) => where)).toEqual([
      'GenerationQueuePolicy/Sources',
      'GenerationQueuePolicy/Principals',
    ]);
  });
});
