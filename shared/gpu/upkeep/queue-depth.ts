import { GetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs';

/**
 * Returns the approximate number of a queue's waiting messages: visible ones and delayed ones. Messages in flight are
 * left out, because the dispatchers that process them appear in the fleet's leases and waiters. Throws the errors of
 * SQS.
 */
export async function readQueueDepth(client: SQSClient, QueueUrl: string): Promise<number> {
  const AttributeNames = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesDelayed'] as const;
  const { Attributes = {} } = await client.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...AttributeNames] }),
  );
  return AttributeNames.reduce((total, name) => total + Number(Attributes[name] ?? 0), 0);
}
