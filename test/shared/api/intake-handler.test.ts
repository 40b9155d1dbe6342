import { expect, it } from 'vitest';
import { getMessageBytes } from '../../../shared/api/intake-handler.ts';

const measure = (body: string) =>
  getMessageBytes({
    messageId: 'm',
    receiptHandle: 'r',
    body,
    attributes: { SenderId: 'AROA', ApproximateReceiveCount: '1' },
  });

it.each(['{"bodyPointer":{}}', '{"body\\u0050ointer":{}}', '{"\\u0062odyPointer":{}}', '{"bodyPo\\u006Eter":{}}'])(
  'a message whose body lies in the bucket counts as the largest such body: %s',
  (body) => {
    expect(measure(body)).toBe(6_000_000);
  },
);

it('other messages count as their own size, whatever characters an encoder escapes', () => {
  const body = '{"body":{"input":"\\u00e4\\u003c\\u2028\\ud83d"}}';
  expect(measure(body)).toBe(body.length);
});
