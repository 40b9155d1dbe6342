import { GetQueueAttributesCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import { expect, it } from 'vitest';
import { createQueueControl } from '../../../shared/lambda/queue-control.ts';
import { createVirtualTime } from '../virtual-time.ts';
import { createSqsClientModel } from './sqs-client-model.ts';
import { SqsModel } from './sqs-model.ts';

const QueueUrl = 'http://sqs.invalid/000000000000/jobs';

it("the SDK's client works on a queue's model without real time passing", async () => {
  const time = createVirtualTime();
  const queue = new SqsModel(time, { name: 'jobs' });
  const client = await createSqsClientModel(new Map([[QueueUrl, queue]]));
  const control = createQueueControl(client, { queueUrl: QueueUrl, deadLetterUrl: QueueUrl });
  let hasEnded = false;
  // If a request took real time, the clock would jump to these before the request had ended.
  for (let at = 1; at < 1_000; at += 1) time.at(at, () => undefined);
  time.at(0, async () => {
    for (const body of ['a', 'b', 'c']) {
      await client.send(new SendMessageCommand({ QueueUrl, MessageBody: body, MessageGroupId: 'acme' }));
    }
    const [a, b] = await control.receive(2, 60);
    expect(a).toMatchObject({ body: 'a', attributes: { ApproximateReceiveCount: '1', SentTimestamp: '0' } });
    await control.setVisibility([a?.receiptHandle ?? ''], 120);
    await control.remove([b?.receiptHandle ?? '']);
    expect(queue.inspectCounts()).toEqual({ visible: 1, hidden: 1, delayed: 0 });
    expect(time.now()).toBe(0);
    await time.sleep(60_000);
    expect(await control.countHidden()).toBe(1);
    queue.setAvailable(false);
    const request = client.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }));
    await expect(request).rejects.toMatchObject({ name: 'ServiceUnavailable', $metadata: { httpStatusCode: 503 } });
    expect(time.now()).toBe(60_000);
    hasEnded = true;
  });
  await time.run();
  expect(hasEnded).toBe(true);
});
