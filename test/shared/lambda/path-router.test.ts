import { describe, expect, it } from 'vitest';
import { matchPaths } from '../../../shared/lambda/path-router.ts';

const ROUTES = [
  'GET /v1/organization/projects',
  'GET /v1/organization/projects/{project}',
  'POST /v1/organization/projects/{project}',
  'GET /v1/organization/projects/special',
  'GET /v1/organization/projects/{project}/api_keys/{key}',
];

/** Returns what a request to `/v1/organization/{path+}` becomes. */
function match(httpMethod: string, path: string, routes = ROUTES) {
  const request = {
    event: { httpMethod, resource: '/v1/organization/{path+}', pathParameters: { path }, body: 'kept' } as unknown,
  };
  matchPaths(routes).before(request);
  return request.event;
}

describe('the router of greedy resources', () => {
  it('a request gets the resource and the parameters of its route, and keeps the rest', () => {
    expect(match('GET', 'projects/acme/api_keys/key_1')).toEqual({
      httpMethod: 'GET',
      resource: '/v1/organization/projects/{project}/api_keys/{key}',
      pathParameters: { project: 'acme', key: 'key_1' },
      body: 'kept',
    });
  });

  it('a segment of text is preferred to a parameter, in whatever order the routes are', () => {
    for (const routes of [ROUTES, ROUTES.toReversed()])
      expect(match('GET', 'projects/special', routes)).toMatchObject({ resource: '/v1/organization/projects/special' });
  });

  it('a parameter stays encoded, so that an encoded slash begins no segment', () => {
    expect(match('GET', 'projects/a%2Fapi_keys%2Fb')).toMatchObject({
      resource: '/v1/organization/projects/{project}',
      pathParameters: { project: 'a%2Fapi_keys%2Fb' },
    });
  });

  it.each([
    ['DELETE', 'projects/acme'],
    ['GET', 'projects/'],
    ['GET', 'projects/acme/'],
    ['GET', 'projects//api_keys/key_1'],
    ['GET', 'unknown'],
  ])('a request without a route stays as it is: %s %s', (method, path) => {
    expect(match(method, path)).toMatchObject({ resource: '/v1/organization/{path+}', pathParameters: { path } });
  });

  it.each([undefined, 'text', {}, { resource: 1 }, { resource: '/v1/{path+}' }, { resource: '/v1/models' }])(
    'an event that is no request to a greedy resource stays as it is: %j',
    (event) => {
      const request = { event };
      matchPaths(ROUTES).before(request);
      expect(request.event).toEqual(event);
    },
  );
});
