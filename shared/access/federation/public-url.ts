import { BlockList, isIP } from 'node:net';

/** Returns whether a URL may be fetched, as far as its text says. Its host's addresses are checked when it is fetched. */
export function isPublicUrl(text: string, isLoopbackAllowed: boolean): boolean {
  const url = URL.parse(text);
  if (url === null || url.username !== '' || url.password !== '' || url.hash !== '') return false;
  if (url.protocol === 'https:') return true;
  return isLoopbackAllowed && url.protocol === 'http:' && url.hostname === '127.0.0.1';
}

/** @see https://www.iana.org/assignments/iana-ipv4-special-registry/ */
const PRIVATE_IPV4 = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24'],
  ...['192.0.2.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '224.0.0.0/3'],
];
/** Networks within 2000::/3, outside of which no address is public: Teredo, benchmarks, documentation, 6to4. */
const PRIVATE_IPV6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

const privateAddresses = new BlockList();
for (const each of [...PRIVATE_IPV4, ...PRIVATE_IPV6]) {
  const [network = '', bits] = each.split('/');
  privateAddresses.addSubnet(network, Number(bits), isIP(network) === 4 ? 'ipv4' : 'ipv6');
}
const globalIPv6 = new BlockList();
globalIPv6.addSubnet('2000::', 3, 'ipv6');

/**
 * Returns whether a URL's host is `localhost` or a private address, in any notation, so that `fetchPublicJson` would refuse it
 * whatever the resolver says. On a laptop, 127.0.0.1 counts as public.
 */
export function hasPrivateHost(text: string, isLoopbackAllowed: boolean): boolean {
  const host = (URL.parse(text)?.hostname ?? '').replace(/^\[|\]$|\.$/g, '');
  if (isLoopbackAllowed && host === '127.0.0.1') return false;
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  const version = isIP(host);
  if (version === 4) return privateAddresses.check(host);
  return version === 6 && (!globalIPv6.check(host, 'ipv6') || privateAddresses.check(host, 'ipv6'));
}
