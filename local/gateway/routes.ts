/** One method of one resource of the API. */
export type Route = FunctionRoute | MockRoute;

interface Method {
  /** Upper case, or `ANY`. */
  readonly method: string;
  /** `/v1/models/{id}`; a last segment `{name+}` matches the rest of the path. */
  readonly resource: string;
}

/**
 * A route that API Gateway answers itself, with status 200: a browser's CORS preflight request, a probe, or the description
 * of the API.
 */
export interface MockRoute extends Method {
  readonly kind: 'mock';
  readonly headers: Readonly<Record<string, string>>;
  /** JSON, or nothing. */
  readonly body: string;
}

/** A route to a function. */
export interface FunctionRoute extends Method {
  readonly kind: 'function';
  /** The function's short name. */
  readonly function: string;
  /** True if the function's response is forwarded while it arrives. */
  readonly streamed: boolean;
  /** Milliseconds from the request to the last byte of the response. */
  readonly timeoutMs: number;
  readonly authorizer: AuthorizerDefinition | undefined;
}

/** A Lambda authorizer of type REQUEST. */
export interface AuthorizerDefinition {
  /** The function's short name. */
  readonly function: string;
  /** Required headers, in lower case. Their values are the cache's key. */
  readonly identityHeaders: readonly string[];
  /** Milliseconds for which a policy is cached; 0 for never. */
  readonly ttlMs: number;
}

export interface RouteMatch<R extends Route = Route> {
  readonly route: R;
  /** Undecoded, as in API Gateway. */
  readonly pathParameters: Readonly<Record<string, string>> | null;
}

interface Pattern {
  readonly route: Route;
  readonly segments: readonly string[];
}

/**
 * Creates an API's router. A literal segment is preferred to `{name}`, which is preferred to `{name+}`; a named method
 * is preferred to `ANY`.
 * @returns a function that finds the route of a method and undecoded path
 */
export function createRouter(routes: readonly Route[]): (method: string, path: string) => RouteMatch | undefined {
  const patterns = routes
    .map((route): Pattern => ({ route, segments: splitPath(route.resource) }))
    .sort(compareByGenerality);
  return (method, path) => {
    const segments = splitPath(path);
    for (const { route, segments: pattern } of patterns) {
      if (route.method !== method && route.method !== 'ANY') continue;
      const pathParameters = matchPattern(pattern, segments);
      if (pathParameters !== undefined) return { route, pathParameters };
    }
    return undefined;
  };
}

function splitPath(path: string): string[] {
  return path.split('/').filter((segment) => segment !== '');
}

function matchPattern(
  pattern: readonly string[],
  segments: readonly string[],
): Record<string, string> | null | undefined {
  const parameters: Record<string, string> = {};
  for (const [index, expected] of pattern.entries()) {
    const actual = segments[index];
    if (actual === undefined) return undefined;
    if (expected.endsWith('+}')) {
      parameters[expected.slice(1, -2)] = segments.slice(index).join('/');
      return parameters;
    }
    if (expected.startsWith('{')) parameters[expected.slice(1, -1)] = actual;
    else if (expected !== actual) return undefined;
  }
  if (segments.length !== pattern.length) return undefined;
  return Object.keys(parameters).length === 0 ? null : parameters;
}

function compareByGenerality(a: Pattern, b: Pattern): number {
  for (let index = 0; index < Math.max(a.segments.length, b.segments.length); index += 1) {
    const difference = rankGenerality(a.segments[index]) - rankGenerality(b.segments[index]);
    if (difference !== 0) return difference;
  }
  return Number(a.route.method === 'ANY') - Number(b.route.method === 'ANY');
}

function rankGenerality(segment: string | undefined): number {
  if (segment === undefined || !segment.startsWith('{')) return 0;
  return segment.endsWith('+}') ? 2 : 1;
}
