import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../../infra/operate/admin/commands.ts';
import { describeUsage } from '../../../infra/operate/admin/help.ts';
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

describe('the usage of npm run admin', () => {
  it('is that of the resource that the command line names', () => {
    const usage = describeUsage(['keys', 'rotte', '--stage', 'dev']);
    expect(usage).toContain('keys rotate --project PROJECT ID [--overlap SECONDS]');
    expect(usage).not.toContain('admin-keys');
  });

  it('has all commands for --help, and after an error only the names of the resources', () => {
    for (const { name } of COMMANDS) expect(describeUsage(['--help'])).toContain(`\n  ${name}`);
    const short = describeUsage(['key']);
    expect(short).toContain('resources: admin-keys, projects, ');
    expect(short.split('\n').length).toBeLessThan(15);
  });

  it('has brackets around the options that may be absent', () => {
    expect(describeUsage(['projects'])).toContain('projects create --name NAME [--id ID]');
  });

  it('each required option is one of the command', () => {
    for (const { required = [], fields = [], data } of COMMANDS) {
      const options: readonly string[] = [...fields, ...(data ? ['data'] : [])];
      expect(options).toEqual(expect.arrayContaining([...required]));
    }
  });
});

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
