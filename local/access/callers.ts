import type { IncomingHttpHeaders } from 'node:http';

/** The host names and web origins that a server accepts, besides those of this machine. */
export interface CallerRules {
  /** Host names without a port. */
  readonly hosts?: readonly string[];
  /** An origin such as `https://app.example.com`, or `*` for all. */
  readonly origin?: string | undefined;
}

/** Why a request was refused, as the code of an error response. */
export type CallerProblem = 'host_not_allowed' | 'origin_not_allowed';

const LOOPBACK: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost', '[::1]']);

/**
 * Checks that a request doesn't come from a web page of another site. A browser reaches servers on this machine for any
 * page, and these servers' credentials may be well known (`sk-local`).
 *
 * - Host must be a loopback name: a page whose domain's DNS record was changed to 127.0.0.1 (DNS rebinding) sends its
 *   own name. The port isn't compared, because tunnels and the proxies of development servers keep the one that the
 *   browser knows, and a page can't choose a name that isn't its own.
 * - Origin, which browsers add to all requests but simple GETs, must be a page of this machine, on any port. Such a page
 *   can read responses only if CORS allows it.
 * - `Sec-Fetch-Site` covers the requests without Origin.
 *
 * @returns undefined if the request is accepted
 */
export function findCallerProblem(headers: IncomingHttpHeaders, rules: CallerRules = {}): CallerProblem | undefined {
  // HTTP/2 has the pseudo-header instead.
  const host = headers.host ?? headers[':authority'];
  if (typeof host !== 'string' || !isAllowedHost(host, rules)) return 'host_not_allowed';
  const { origin, 'sec-fetch-site': site } = headers;
  if (origin !== undefined) return isAllowedOrigin(origin, rules) ? undefined : 'origin_not_allowed';
  return site === 'cross-site' && rules.origin !== '*' ? 'origin_not_allowed' : undefined;
}

function isAllowedHost(host: string, { hosts = [] }: CallerRules): boolean {
  const name = host.toLowerCase().replace(/:\d{0,5}$/, '');
  return LOOPBACK.has(name) || hosts.includes(name);
}

function isAllowedOrigin(origin: string, { origin: allowed, hosts = [] }: CallerRules): boolean {
  if (allowed === '*' || origin === allowed) return true;
  const url = URL.parse(origin);
  if (url === null || !/^https?:$/.test(url.protocol)) return false;
  return LOOPBACK.has(url.hostname) || hosts.includes(url.hostname);
}
