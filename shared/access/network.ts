/**
 * Returns the network of an address: its first 24 bits, of IPv6 its first 48, such as `192.0.2.0/24` or `2001:db8:7::/48`. What is
 * recorded of a caller is that, and not the address of a person's device.
 * @returns undefined if it is no address
 */
export function toNetwork(address = ''): string | undefined {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '');
  const [, ipv4] = /^(\d{1,3}(?:\.\d{1,3}){2})\.\d{1,3}$/.exec(plain) ?? [];
  if (ipv4 !== undefined) return `${ipv4}.0/24`;
  if (!/^[\da-f:]*:[\da-f:]*$/i.test(plain)) return undefined;
  // `::` stands for as many groups of zeros as are missing.
  const [before = [], after] = plain.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const missing = after === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const groups = [...before, ...Array.from({ length: missing }, () => '0'), ...(after ?? [])];
  if (groups.length !== 8) return undefined;
  return `${groups
    .slice(0, 3)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/48`;
}
