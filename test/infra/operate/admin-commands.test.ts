import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../infra/operate/admin/commands.ts';
import { listPaths } from '../../../infra/operate/admin/path.ts';
import { createUnsupportedRoutes } from '../../../shared/admin/unsupported.ts';
import { ADMIN_ROUTES } from '../../../shared/api/route-table.ts';

/** Routes without a command, with the reason. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    Object.keys(createUnsupportedRoutes()).map((route) => [route, 'It always responds with an error.']),
  ),
  ...Object.fromEntries(
    [
      ...['audio_speeches', 'audio_transcriptions', 'code_interpreter_sessions', 'decisions', 'file_search_calls'],
      ...['images', 'vector_stores', 'web_search_calls'],
    ].map((kind) => [`GET /v1/organization/usage/${kind}`, 'It is always empty.']),
  ),
};

/** Parameters have other names in commands: the object of the path is `{id}`. */
const toShape = (route: string) => route.replaceAll(/\{\w+\}/g, '{}');
const routes = Object.keys(ADMIN_ROUTES);
const byShape = new Map(routes.map((route) => [toShape(route), route]));
const listRoutes = ({ method, path }: (typeof COMMANDS)[number]) =>
  listPaths(path).flatMap((each) => byShape.get(toShape(`${method} ${each}`)) ?? []);

describe('the commands of npm run admin', () => {
  it('each route of the administration API has a command, or is an exception with a reason', () => {
    const covered = new Set(COMMANDS.flatMap(listRoutes));
    expect(routes.filter((route) => !covered.has(route) && !Object.hasOwn(EXCEPTIONS, route))).toEqual([]);
  });

  it('no exception is stale', () => {
    const covered = new Set(COMMANDS.flatMap(listRoutes));
    expect(Object.keys(EXCEPTIONS).filter((route) => !routes.includes(route) || covered.has(route))).toEqual([]);
  });

  it.each(COMMANDS)('$name requests a route of the API', (command) => {
    expect(listRoutes(command)).not.toEqual([]);
  });

  it('each command has a name of its own', () => {
    const names = COMMANDS.map(({ name }) => name);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });
});
