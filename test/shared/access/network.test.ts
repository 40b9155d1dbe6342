import { describe, expect, it } from 'vitest';
import { toNetwork } from '../../../shared/access/network.ts';

describe('the network of an address', () => {
  it.each([
    ['192.0.2.77', '192.0.2.0/24'],
    ['::ffff:192.0.2.77', '192.0.2.0/24'],
    ['2001:db8:7:1:2:3:4:5', '2001:db8:7::/48'],
    ['2001:0DB8:0007::5', '2001:db8:7::/48'],
    ['2001::7:1:2:3:4:5', '2001:0:7::/48'],
    ['2001:db8::', '2001:db8:0::/48'],
    ['::1', '0:0:0::/48'],
  ])('%s is in %s', (address, network) => {
    expect(toNetwork(address)).toBe(network);
  });

  it.each([
    undefined,
    '',
    'localhost',
    '192.0.2',
    '1:2:3',
    '1:2:3:4:5:6:7::8:9',
    'fe80::1%eth0',
    ':',
    '192.0.2.7\n{"a":1}',
  ])('%j has no network', (address) => {
    expect(toNetwork(address)).toBeUndefined();
  });
});
