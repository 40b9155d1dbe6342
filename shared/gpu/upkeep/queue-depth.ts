import { GetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs';

/**
 * Messages of a queue that wait: those that may be received, and those whose delay has not passed. What dispatchers have
 * in hand is in the fleet's leases and waiters. Throws what SQS throws.
 */
export async function queueDepth(client: SQSClient, QueueUrl: string): Promise<number> {
  const AttributeNames = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesDelayed'] as const;
  const { Attributes = {} } = await client.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...AttributeNames] }),
  );
  return AttributeNames.reduce((total, name) => total + Number(Attributes[name] ?? 0), 0);
}
