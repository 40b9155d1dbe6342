import type { Stage } from './settings.ts';

type Statement = Readonly<Record<string, unknown>> | { readonly Ref: 'AWS::NoValue' };

/** Statements that let others than roles of the stack's account send to the generation queue. */
interface SenderStatements {
  /** For the policy of the queue. */
  readonly queueSources: Statement;
  readonly queuePrincipals: Statement;
  /** For the policy of the key that encrypts the queue. A sender without them may send, but SQS can't encrypt. */
  readonly keySources: Statement;
  readonly keyPrincipals: Statement;
}

/** Services that deliver a message with their own identity, by the service in the ARN of the source. */
const SERVICES: Readonly<Record<string, string>> = { events: 'events.amazonaws.com', sns: 'sns.amazonaws.com' };
const NONE = { Ref: 'AWS::NoValue' } as const;
const QUEUE = { 'Fn::GetAtt': ['GenerationQueue', 'Arn'] };

/**
 * Returns the statements for the settings `senderSources` (rules of EventBridge and topics of SNS) and
 * `senderPrincipals` (identities of other accounts). They are absent by default.
 *
 * A source's ARN contains its account, so that `aws:SourceAccount` would add nothing to `aws:SourceArn`.
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
 */
export function createSenderStatements({ prefix, settings }: Stage): SenderStatements {
  const { senderSources: sources, senderPrincipals: principals } = settings;
  const services = [...new Set(sources.map((arn) => SERVICES[arn.split(':')[2] ?? '']))].toSorted();
  const fromSources = { Principal: { Service: services } };
  const named = { ArnEquals: { 'aws:SourceArn': sources } };
  const fromPrincipals = { Principal: { AWS: principals } };
  // Composed, because the queue refers to the key.
  const queueArn = {
    'Fn::Sub': `arn:\${AWS::Partition}:sqs:\${AWS::Region}:\${AWS::AccountId}:${prefix}-generation`,
  };
  const forQueue = { 'kms:EncryptionContext:aws:sqs:arn': queueArn };
  const send = { Effect: 'Allow', Action: 'sqs:SendMessage', Resource: QUEUE };
  const encrypt = { Effect: 'Allow', Action: ['kms:Decrypt', 'kms:GenerateDataKey'], Resource: '*' };
  return {
    queueSources: sources.length === 0 ? NONE : { Sid: 'Sources', ...send, ...fromSources, Condition: named },
    queuePrincipals: principals.length === 0 ? NONE : { Sid: 'Principals', ...send, ...fromPrincipals },
    keySources:
      sources.length === 0
        ? NONE
        : { Sid: 'Sources', ...encrypt, ...fromSources, Condition: { ...named, StringEquals: forQueue } },
    keyPrincipals:
      principals.length === 0
        ? NONE
        : {
            Sid: 'Principals',
            ...encrypt,
            ...fromPrincipals,
            Condition: {
              StringEquals: { ...forQueue, 'kms:ViaService': { 'Fn::Sub': `sqs.\${AWS::Region}.amazonaws.com` } },
            },
          },
  };
}
