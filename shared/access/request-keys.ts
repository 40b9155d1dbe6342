/** The headers of an authorizer's event. */
export interface HeaderFields {
  readonly headers?: Readonly<Record<string, string | undefined>> | null;
  readonly multiValueHeaders?: Readonly<Record<string, readonly string[] | undefined>> | null;
}

/** The fields of an authorizer's event that name its route. */
export interface RouteFields {
  /** The path as defined: `/v1/models/{id+}`. */
  readonly resource?: string;
}

/**
 * Returns whether API Gateway calls the authorizer with each request of a route, instead of caching policies by the
 * header `Authorization`. `serverless.yml` sets it; a test compares the two.
 */
export function isCalledEachTime({ resource = '' }: RouteFields): boolean {
  return /^\/v1\/(messages|models)(\/|$)/.test(resource);
}

/**
 * Returns the distinct keys in a request's headers, as values of `Authorization`. Names of headers may have any case. The header
 * `x-api-key` counts only on routes whose policies API Gateway doesn't cache. On others, a policy that it allows would be cached
 * under the request's `Authorization`, and would then allow requests that have only that header.
 */
export function collectKeyValues(event: HeaderFields & RouteFields): string[] {
  const readValues = (wanted: string): string[] =>
    [...Object.entries(event.headers ?? {}), ...Object.entries(event.multiValueHeaders ?? {})]
      .filter(([name]) => name.toLowerCase() === wanted)
      .flatMap(([, value]) => value ?? []);
  const keys = isCalledEachTime(event) ? readValues('x-api-key').map((key) => `Bearer ${key}`) : [];
  return [...new Set([...readValues('authorization'), ...keys])];
}

/**
 * Returns the key in an `Authorization: Bearer …` header.
 * @returns undefined if the header is absent, has another scheme, or its key isn't 1 to 256 visible ASCII characters
 */
export function parseKey(header: string | undefined): string | undefined {
  return /^Bearer +([\x21-\x7e]{1,256}) *$/i.exec(header ?? '')?.[1];
}
