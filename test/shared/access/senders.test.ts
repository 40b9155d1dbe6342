import { describe, expect, it } from 'vitest';
import {
  createSenderItem,
  mayReplyTo,
  parseSenderRecord,
  type Sender,
  toSender,
} from '../../../shared/access/senders.ts';
import type { Item } from '../../../shared/aws/attributes.ts';

const sender: Sender = { keyId: 'orders', tenants: ['acme'], scopes: ['inference'], replyQueues: ['orders'] };

/** Parses the item of a sender that may have expired at `now`. */
function parseItem(item: Item, now: number): Sender | undefined {
  const record = parseSenderRecord(item);
  return record && toSender(record, now);
}

describe('the item of a sender', () => {
  it.each([['orders'], ['*'], []])(
    'the item of a sender is parsed into the same sender (reply queues: %s)',
    (...replyQueues) => {
      const parsed = parseItem(createSenderItem('AROA1:session', { ...sender, replyQueues }), 0);
      expect(parsed).toEqual({ ...sender, replyQueues });
    },
  );

  it('the item of a sender has its limits on messages, and a limit that is not a number makes it invalid', () => {
    const limited = { ...sender, limits: { messagesPerMinute: 60, messagesPerDay: 0 } };
    const item = createSenderItem('AROA1', limited);
    expect(parseItem(item, 0)).toEqual(limited);
    for (const bad of [{ S: '60' }, { N: '-1' }, { N: '1.5' }])
      expect(parseItem({ ...item, messagesPerMinute: bad }, 0)).toBeUndefined();
  });

  it('the record of a sender also has what only its administration uses, and is read even after it has expired', () => {
    const record = { ...sender, name: 'Orders', createdAt: 50, expiresAt: 100, limits: { messagesPerDay: 3 } };
    const item = createSenderItem('AROA1', record);
    expect(parseSenderRecord(item)).toEqual(record);
    expect(parseItem(item, 99_999)).toEqual({ ...sender, limits: { messagesPerDay: 3 } });
    expect(parseSenderRecord({ ...item, tenants: { S: 'acme' } })).toBeUndefined();
  });

  it('a sender that expires does so at the second of its item', () => {
    const item = { ...createSenderItem('AIDA1', sender), expiresAt: { N: '100' } };
    expect(parseItem(item, 99_999)).toEqual(sender);
    expect(parseItem(item, 100_000)).toBeUndefined();
  });
});

it.each([
  [['orders'], 'orders', true],
  [['*'], 'orders', true],
  [['orders'], 'payments', false],
  [['order'], 'orders', false],
  [[], 'orders', false],
])('a sender with the reply queues %s may reply to %s: %s', (replyQueues, alias, allowed) => {
  expect(mayReplyTo({ ...sender, replyQueues }, alias)).toBe(allowed);
});
