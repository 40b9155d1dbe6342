import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { QUERIES } from '../../../shared/admin/queries.ts';

const FOLDER = join(import.meta.dirname, '../../../node_modules/openai/resources/admin');

/** Returns a path without the names of its parameters. */
const toShape = (path: string) => path.replace(/\$?\{\w+\}/g, '{}');
const shapes = new Map(Object.entries(QUERIES).map(([route, query]) => [toShape(route), query]));
const readNames = (text: string) => [...text.matchAll(/'(\w+)'/g)].map(([, name = '']) => name);

/** Returns the query parameters that OpenAI's client documents, by path: those of its methods that take a query. */
function readClient(): [path: string, names: string[]][] {
  const files = globSync('**/*.js', { cwd: FOLDER }).map((file) => readFileSync(join(FOLDER, file), 'utf8'));
  const types = readFileSync(join(FOLDER, 'organization/usage.d.ts'), 'utf8');
  const lists = files.flatMap((text) =>
    [
      ...text.matchAll(
        /normalizeRequestOptionsForQuery\(query, \[([^\]]*)\][\s\S]*?_client\.get\w*\([^`']*[`']([^`']+)[`']/g,
      ),
    ].map(([, names = '', path = '']): [string, string[]] => [path, readNames(names)]),
  );
  const usage = readFileSync(join(FOLDER, 'organization/usage.js'), 'utf8');
  const reports = [...usage.matchAll(/^ {4}(\w+)\(query, options\) \{\s+return this\._client\.get\('([^']+)'/gm)].map(
    ([, name = '', path = '']): [string, string[]] => {
      const parameters = new RegExp(`interface Usage${name}Params \\{([\\s\\S]*?)\\n\\}`, 'i').exec(types)?.[1] ?? '';
      return [path, [...parameters.matchAll(/^ {4}(\w+)\??:/gm)].map(([, each = '']) => each)];
    },
  );
  return [...lists, ...reports];
}

it("each query parameter of OpenAI's client is accepted by its route", () => {
  const client = readClient().filter(([path]) => !/invites|external_storage/.test(path));
  expect(client.length).toBeGreaterThan(30);
  for (const [path, names] of client) {
    const accepted = shapes.get(toShape(`GET /v1${path}`))?.names.map((name) => name.replace(/\[\w+\]$/, ''));
    expect(accepted, path).toEqual(expect.arrayContaining(names));
  }
});
