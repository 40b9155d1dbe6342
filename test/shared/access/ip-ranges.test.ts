import { describe, expect, it } from 'vitest';
import { isInRanges, isIpRange } from '../../../shared/access/ip-ranges.ts';

describe('isIpRange', () => {
  it.each(['192.0.2.1', '192.0.2.0/24', '0.0.0.0/0', '2001:db8::1', '2001:db8::/32', '::/0', '::1'])(
    '%s is a range of addresses',
    (text) => expect(isIpRange(text)).toBe(true),
  );

  it.each([
    ...['', '192.0.2', '192.0.2.256', '192.0.2.1/33', '192.0.2.1/', '192.0.2.1/-1', '192.0.2.1/1e1', '192.0.2.1/24/24'],
    ...['2001:db8::/129', 'fe80::1%eth0', '01.2.3.4', ' 192.0.2.1', '192.0.2.1/0x8', 'localhost', '*'],
    ...['::ffff:192.0.2.1', '::ffff:192.0.2.1/128', '::FFFF:c000:201', '0:0:0:0:0:ffff:192.0.2.0/120'],
  ])('%j is no range of addresses', (text) => expect(isIpRange(text)).toBe(false));
});

describe('isInRanges', () => {
  it.each([
    ['192.0.2.255', ['192.0.2.0/24'], true],
    ['192.0.3.0', ['192.0.2.0/24'], false],
    ['192.0.2.1', ['198.51.100.0/24', '192.0.2.1'], true],
    ['192.0.2.2', ['192.0.2.1'], false],
    ['::ffff:192.0.2.1', ['192.0.2.0/24'], true],
    ['2001:db8:ffff::1', ['2001:db8::/32'], true],
    ['2001:db9::', ['2001:db8::/32'], false],
    ['2001:db8::1', ['0.0.0.0/0'], false],
    ['192.0.2.1', ['::/0'], false],
    ['', ['0.0.0.0/0'], false],
    ['unknown', ['0.0.0.0/0'], false],
  ])('the address %s is in %j: %j', (address, ranges, expected) => expect(isInRanges(address, ranges)).toBe(expected));
});
