import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const PEERS = join(import.meta.dirname, '../peers');

/**
 * Where a file of a peer's package is. All peers are installed from their lockfile when the first one is missing.
 * @param path below `node_modules`: the package's name and the file's path in it
 * @throws Error when they can't be installed (there is no network, say)
 */
export async function peerFile(path: string): Promise<string> {
  const file = join(PEERS, 'node_modules', path);
  if (!existsSync(file)) await installPeers();
  return file;
}

async function installPeers(): Promise<void> {
  console.log('Installing the peers to compare with (bench/peers), once.');
  // Without install scripts: one of them wants tools that only a checkout of its package has.
  const install = spawn('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: PEERS, stdio: 'inherit' });
  const [code] = await once(install, 'exit');
  if (code !== 0) throw new Error(`npm ci in ${PEERS} failed: the benchmarks against peers need it`);
}
