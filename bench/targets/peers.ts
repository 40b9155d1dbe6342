import { join } from 'node:path';
import { installDependencies } from '../../infra/install.ts';

const PEERS = join(import.meta.dirname, '../peers');

/**
 * Returns the path of a file in a peer's package. Installs the peers on first use.
 * @param path below `node_modules`: the package's name and the file's path in it
 * @throws Error if the peers can't be installed, for example without a network
 */
export async function resolvePeerFile(path: string): Promise<string> {
  await installDependencies(PEERS);
  return join(PEERS, 'node_modules', path);
}
