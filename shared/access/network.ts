/** Returns an address, or the IPv4 address that is written as an IPv6 address: `::ffff:192.0.2.1`. */
export function toPlainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
}

/**
 * Returns the network of an address, such as `192.0.2.0/24` or `2001:db8:7::/48`: the first 24 bits, or 48 of IPv6. Only the
 * network of a caller is recorded, because the whole address could identify a person's device.
 * @returns undefined if the text isn't an address
 */
export function toNetwork(address = ''): string | undefined {
  const plain = toPlainAddress(address);
  const [, ipv4] = /^(\d{1,3}(?:\.\d{1,3}){2})\.\d{1,3}$/.exec(plain) ?? [];
  if (ipv4) return `${ipv4}.0/24`;
  if (!/^[\da-f:]*:[\da-f:]*$/i.test(plain)) return undefined;
  // `::` stands for as many groups of zeros as are missing.
  const [before = [], after] = plain.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const missing = after ? 8 - before.length - after.length : 0;
  // `Array.from` returns an empty list for a negative length.
  const groups = [...before, ...Array.from({ length: missing }, () => '0'), ...(after ?? [])];
  if (groups.length !== 8) return undefined;
  return `${groups
    .slice(0, 3)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/48`;
}
