import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CLIENTS } from './clients.ts';

/** Returns the versions of the clients that are installed, by the clients' names. */
export async function readVersions(): Promise<Readonly<Record<string, string>>> {
  const read = (file: string): Promise<string> => readFile(join(import.meta.dirname, file), 'utf8');
  const [node, programs, python, go] = await Promise.all([
    read('package.json'),
    read('programs/package.json'),
    read('python/requirements.txt'),
    read('go/go.mod'),
  ]);
  const npm: Record<string, string> = { ...JSON.parse(node).dependencies, ...JSON.parse(programs).dependencies };
  return Object.fromEntries(
    CLIENTS.map(({ name, package: id, runtime }) => {
      const version = {
        node: npm[id],
        program: npm[id],
        python: new RegExp(`^${id}==(\\S+)`, 'm').exec(python)?.[1],
        go: new RegExp(`${id} v(\\S+)`).exec(go)?.[1],
      }[runtime];
      if (version === undefined) throw new Error(`No lockfile has a version of ${id}`);
      return [name, version];
    }),
  );
}
