import { BlockList, isIP } from 'node:net';
import { toPlainAddress } from './network.ts';

/** IPv4 addresses that are written as IPv6 addresses. */
const MAPPED = new BlockList();
MAPPED.addSubnet('::ffff:0:0', 96, 'ipv6');

/**
 * Returns whether a text is an IPv4 or IPv6 address, or a block of addresses in CIDR notation: `2001:db8::/32`. A range such as
 * `::ffff:192.0.2.1` is refused, because callers' addresses are compared as IPv4 addresses.
 */
export function isIpRange(text: string): boolean {
  const { network, version, prefix, bits } = parseRange(text);
  if (version === 6 && MAPPED.check(network, 'ipv6')) return false;
  return version !== 0 && !text.includes('%') && /^\d{1,3}$/.test(prefix) && Number(prefix) <= bits;
}

/**
 * Returns whether an address lies in one of the ranges, for each of which `isIpRange` holds. An IPv4 address that is written
 * as an IPv6 address (`::ffff:192.0.2.1`) is the IPv4 address.
 */
export function isInRanges(address: string, ranges: readonly string[]): boolean {
  const plain = toPlainAddress(address);
  const version = isIP(plain);
  if (version === 0) return false;
  const family = version === 6 ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  // Only ranges of the address's own version: a list would find any IPv4 address in ::/0.
  for (const { network, prefix } of ranges.map(parseRange).filter((range) => range.version === version))
    list.addSubnet(network, Number(prefix), family);
  return list.check(plain, family);
}

/** Returns whether all addresses of a range lie in one of the ranges, for each of which `isIpRange` holds. */
export function isRangeWithin(range: string, ranges: readonly string[]): boolean {
  const { network, prefix } = parseRange(range);
  return ranges.some((each) => Number(prefix) >= Number(parseRange(each).prefix) && isInRanges(network, [each]));
}

function parseRange(text: string) {
  const slash = text.indexOf('/');
  const network = slash === -1 ? text : text.slice(0, slash);
  const version = isIP(network);
  const bits = version === 6 ? 128 : 32;
  return { network, version, bits, prefix: slash === -1 ? String(bits) : text.slice(slash + 1) };
}
