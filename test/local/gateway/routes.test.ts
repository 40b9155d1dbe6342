import { describe, expect, it } from 'vitest';
import { createRouter } from '../../../local/gateway/routes.ts';
import { createRoute } from './gateways.ts';

const resources = ['/v1/models/{id+}', '/v1/models', '/v1/{any}/special', '/v1/models/special', '/v1/{any}/{id}'];

function findRoute(method: string, path: string) {
  const route = createRouter([
    ...resources.map((resource) => createRoute('GET', resource)),
    createRoute('ANY', '/v1/models'),
  ]);
  const match = route(method, path);
  return match && [match.route.method, match.route.resource, match.pathParameters];
}

describe('the router', () => {
  it.each([
    { path: '/v1/models', expected: ['GET', '/v1/models', null] },
    { path: '/v1/models/', expected: ['GET', '/v1/models', null] },
    { path: '/v1/models/special', expected: ['GET', '/v1/models/special', null] },
    { path: '/v1/models/a/b%2Fc', expected: ['GET', '/v1/models/{id+}', { id: 'a/b%2Fc' }] },
    { path: '/v1/other/special', expected: ['GET', '/v1/{any}/special', { any: 'other' }] },
    { path: '/v1/other/thing', expected: ['GET', '/v1/{any}/{id}', { any: 'other', id: 'thing' }] },
    { path: '/v1/other/thing/more', expected: undefined },
    { path: '/v2/models', expected: undefined },
    { path: '/', expected: undefined },
  ])('the router finds the route of GET $path: $expected', ({ path, expected }) => {
    expect(findRoute('GET', path)).toEqual(expected);
  });

  it('the router matches any other method with a route for ANY', () => {
    expect(findRoute('PATCH', '/v1/models')).toEqual(['ANY', '/v1/models', null]);
  });
});
