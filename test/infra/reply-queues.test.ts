import { expect, it } from 'vitest';
import { createReplyPolicy, formatReplyQueues } from '../../infra/reply-queues.ts';

const withSetting = (value: unknown) => ({ resolveVariable: async () => value });

it('without reply queues, no permission is needed', async () => {
  expect(await formatReplyQueues(withSetting('{}'))).toBe('{}');
  expect(await createReplyPolicy(withSetting('{}'))).toEqual({ Ref: 'AWS::NoValue' });
});

it('a function may send to exactly the reply queues in the setting', async () => {
  const urls = {
    orders: 'https://sqs.eu-west-1.amazonaws.com/123456789012/orders-answers',
    china: 'https://sqs.cn-north-1.amazonaws.com.cn/210987654321/answers',
  };
  expect(JSON.parse(await formatReplyQueues(withSetting(JSON.stringify(urls))))).toEqual(urls);
  expect(await createReplyPolicy(withSetting(JSON.stringify(urls)))).toMatchObject({
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

it.each([
  'orders',
  '["https://sqs.eu-west-1.amazonaws.com/123456789012/answers"]',
  '{"orders":"http://sqs.eu-west-1.amazonaws.com/123456789012/answers"}',
  '{"orders":"https://example.com/123456789012/answers"}',
  '{"all":"https://sqs.eu-west-1.amazonaws.com/123456789012/*"}',
  '{"two words":"https://sqs.eu-west-1.amazonaws.com/123456789012/answers"}',
])('an invalid value of replyQueues is rejected: %s', async (value) => {
  await expect(formatReplyQueues(withSetting(value))).rejects.toThrow(/^The setting replyQueues is not valid: must /);
});
