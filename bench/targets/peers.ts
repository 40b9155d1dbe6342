import { join } from 'node:path';
import { installDependencies } from '../../infra/install.ts';

const PEERS = join(import.meta.dirname, '../peers');

/**
 * Returns where a file of a peer's package is. Installs all peers first unless they are.
 * @param path below `node_modules`: the package's name and the file's path in it
 * @throws Error when they can't be installed (there is no network, say)
 */
export async function resolvePeerFile(path: string): Promise<string> {
  await installDependencies(PEERS);
  return join(PEERS, 'node_modules', path);
}
