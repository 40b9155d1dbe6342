import { expect, test } from 'vitest';
import { createReplyPolicy, formatReplyQueues } from '../../infra/reply-queues.ts';

const set = (value: unknown) => ({ resolveVariable: async () => value });

test('without reply queues there is nothing to allow', async () => {
  expect(await formatReplyQueues(set('{}'))).toBe('{}');
  expect(await createReplyPolicy(set('{}'))).toEqual({ Ref: 'AWS::NoValue' });
});

test('a function may send to exactly the reply queues that the setting names', async () => {
  const urls = {
    orders: 'https://sqs.eu-west-1.amazonaws.com/123456789012/orders-answers',
    china: 'https://sqs.cn-north-1.amazonaws.com.cn/210987654321/answers',
  };
  expect(JSON.parse(await formatReplyQueues(set(JSON.stringify(urls))))).toEqual(urls);
  expect(await createReplyPolicy(set(JSON.stringify(urls)))).toMatchObject({
    PolicyDocument: {
      Statement: [
        {
          Action: ['sqs:SendMessage'],
          Resource: [
            'arn:aws-cn:sqs:cn-north-1:210987654321:answers',
            'arn:aws:sqs:eu-west-1:123456789012:orders-answers',
          ],
        },
      ],
    },
  });
});

test.each([
  'orders',
  '["https://sqs.eu-west-1.amazonaws.com/123456789012/answers"]',
  '{"orders":"http://sqs.eu-west-1.amazonaws.com/123456789012/answers"}',
  '{"orders":"https://example.com/123456789012/answers"}',
  '{"all":"https://sqs.eu-west-1.amazonaws.com/123456789012/*"}',
  '{"two words":"https://sqs.eu-west-1.amazonaws.com/123456789012/answers"}',
])('what is no list of queues is refused by name: %s', async (value) => {
  await expect(formatReplyQueues(set(value))).rejects.toThrow(/^The setting replyQueues is not valid: must /);
});
