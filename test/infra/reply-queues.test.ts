import { expect, it } from 'vitest';
import { createReplyPolicy, formatReplyQueues } from '../../infra/reply-queues.ts';

it('without reply queues, no permission is needed', () => {
  expect(formatReplyQueues({ replyQueues: {} })).toBe('{}');
  expect(createReplyPolicy({ replyQueues: {} })).toEqual({ Ref: 'AWS::NoValue' });
});

it('a function may send to exactly the reply queues in the setting', () => {
  const urls = {
    orders: 'https://sqs.eu-west-1.amazonaws.com/123456789012/orders-answers',
    china: 'https://sqs.cn-north-1.amazonaws.com.cn/210987654321/answers',
  };
  expect(JSON.parse(formatReplyQueues({ replyQueues: urls }))).toEqual(urls);
  expect(createReplyPolicy({ replyQueues: urls })).toMatchObject({
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
