import type { Settings } from './settings-schema.ts';

interface ReplyPolicy {
  readonly PolicyName: 'reply';
  readonly PolicyDocument: { readonly Version: '2012-10-17'; readonly Statement: readonly object[] };
}

/** Returns `REPLY_QUEUES` of the functions that send answers, as JSON: a queue's URL for each alias. */
export function formatReplyQueues({ replyQueues }: Pick<Settings, 'replyQueues'>): string {
  return JSON.stringify(replyQueues);
}

/** Returns a policy that lets a function send to exactly the queues in the setting `replyQueues`. */
export function createReplyPolicy({
  replyQueues,
}: Pick<Settings, 'replyQueues'>): ReplyPolicy | { readonly Ref: 'AWS::NoValue' } {
  const arns = Object.values(replyQueues).map(toQueueArn);
  if (arns.length === 0) return { Ref: 'AWS::NoValue' };
  const statement = { Sid: 'Reply', Effect: 'Allow', Action: ['sqs:SendMessage'], Resource: arns.toSorted() };
  return { PolicyName: 'reply', PolicyDocument: { Version: '2012-10-17', Statement: [statement] } };
}

/** Returns the ARN of a queue by its URL, such as `https://sqs.eu-west-1.amazonaws.com/123456789012/answers`. */
function toQueueArn(url: string): string {
  const { hostname, pathname } = new URL(url);
  const [, region = ''] = hostname.split('.');
  const partition = region.startsWith('cn-') ? 'aws-cn' : region.startsWith('us-gov-') ? 'aws-us-gov' : 'aws';
  return `arn:${partition}:sqs:${region}:${pathname.slice(1).replace('/', ':')}`;
}
