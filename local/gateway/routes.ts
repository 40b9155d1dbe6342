/** One method of one resource of the API. */
export type Route = FunctionRoute | PreflightRoute;

interface Place {
  /** Upper case, or `ANY`. */
  readonly method: string;
  /** `/v1/models/{id}`; a last `{name+}` takes the whole rest of the path. */
  readonly resource: string;
}

/** A route that API Gateway answers by itself: the question of a browser whether it may call. */
export interface PreflightRoute extends Place {
  readonly kind: 'preflight';
  readonly headers: Readonly<Record<string, string>>;
}

/** A route that a function answers. */
export interface FunctionRoute extends Place {
  readonly kind: 'function';
  /** The function's short name. */
  readonly function: string;
  /** Whether the function's answer is handed on as it comes. */
  readonly streamed: boolean;
  /** Milliseconds from the request to the last byte of the answer. */
  readonly timeoutMs: number;
  readonly authorizer: AuthorizerDefinition | undefined;
}

/** A Lambda authorizer of type REQUEST. */
export interface AuthorizerDefinition {
  /** The function's short name. */
  readonly function: string;
  /** Headers, in lower case, that must be there; together they are the cache's key. */
  readonly identityHeaders: readonly string[];
  /** Milliseconds an answer is used again; 0 never. */
  readonly ttlMs: number;
}

export interface RouteMatch<R extends Route = Route> {
  readonly route: R;
  /** As they stand in the path: API Gateway doesn't decode them. */
  readonly pathParameters: Readonly<Record<string, string>> | null;
}

interface Pattern {
  readonly route: Route;
  readonly segments: readonly string[];
}

/**
 * Prepares the routes of an API. A literal segment wins over `{name}`, which wins over `{name+}`; a method of its own wins
 * over `ANY`.
 * @returns finds the route of a request by its method and raw path
 */
export function createRouter(routes: readonly Route[]): (method: string, path: string) => RouteMatch | undefined {
  const patterns = routes
    .map((route): Pattern => ({ route, segments: segmentsOf(route.resource) }))
    .sort(moreLiteralFirst);
  return (method, path) => {
    const segments = segmentsOf(path);
    for (const { route, segments: pattern } of patterns) {
      if (route.method !== method && route.method !== 'ANY') continue;
      const pathParameters = match(pattern, segments);
      if (pathParameters !== undefined) return { route, pathParameters };
    }
    return undefined;
  };
}

function segmentsOf(path: string): string[] {
  return path.split('/').filter((segment) => segment !== '');
}

function match(pattern: readonly string[], segments: readonly string[]): Record<string, string> | null | undefined {
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

function moreLiteralFirst(a: Pattern, b: Pattern): number {
  for (let index = 0; index < Math.max(a.segments.length, b.segments.length); index += 1) {
    const difference = vagueness(a.segments[index]) - vagueness(b.segments[index]);
    if (difference !== 0) return difference;
  }
  return Number(a.route.method === 'ANY') - Number(b.route.method === 'ANY');
}

function vagueness(segment: string | undefined): number {
  if (segment === undefined || !segment.startsWith('{')) return 0;
  return segment.endsWith('+}') ? 2 : 1;
}
