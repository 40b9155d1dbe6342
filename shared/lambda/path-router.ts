import { isObject } from '../core/objects.ts';

/**
 * Creates middleware that finds the route of a request to a greedy resource, such as `/v1/organization/{path+}`: the
 * handler sees the event that API Gateway would send if each of `routes` were a resource of its own. A segment of text is
 * preferred to a parameter. The event of a request without a route stays as it is.
 * @param routes by method and resource: `GET /v1/organization/projects/{id}`
 */
export function matchPaths(routes: readonly string[]) {
  const patterns = routes.map(parseRoute).sort(compareByGenerality);
  return {
    before: (request: { event: unknown }): void => {
      const { event } = request;
      if (!isObject(event) || typeof event['resource'] !== 'string') return;
      const path = fillPath(event['resource'], event['pathParameters']);
      if (path === undefined) return;
      for (const { method, resource, segments } of patterns) {
        const pathParameters = method === event['httpMethod'] ? matchSegments(segments, path) : undefined;
        if (pathParameters === undefined) continue;
        request.event = { ...event, resource, pathParameters };
        return;
      }
    },
  };
}

interface Pattern {
  readonly method: string;
  readonly resource: string;
  readonly segments: readonly string[];
}

function parseRoute(route: string): Pattern {
  const [method = '', resource = ''] = route.split(' ');
  return { method, resource, segments: resource.split('/') };
}

/** Returns the segments of a request's path, undecoded. Returns undefined if its resource isn't greedy. */
function fillPath(resource: string, parameters: unknown): string[] | undefined {
  const [, before, name] = /^(.*\/)\{(\w+)\+\}$/.exec(resource) ?? [];
  if (before === undefined || name === undefined || !isObject(parameters)) return undefined;
  return `${before}${String(parameters[name] ?? '')}`.split('/');
}

function matchSegments(pattern: readonly string[], path: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== path.length) return undefined;
  const parameters: Record<string, string> = {};
  for (const [index, expected] of pattern.entries()) {
    const actual = path[index] ?? '';
    if (!isParameter(expected)) {
      if (expected !== actual) return undefined;
    } else if (actual === '') return undefined;
    else parameters[expected.slice(1, -1)] = actual;
  }
  return parameters;
}

function isParameter(segment: string): boolean {
  return segment.startsWith('{');
}

function compareByGenerality({ segments: one }: Pattern, { segments: other }: Pattern): number {
  for (const [index, segment] of one.entries()) {
    const difference = Number(isParameter(segment)) - Number(isParameter(other[index] ?? ''));
    if (difference !== 0) return difference;
  }
  return 0;
}
