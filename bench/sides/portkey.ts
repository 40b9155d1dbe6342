import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type ServerProcess, startServerOnPort } from '../processes.ts';

const PEERS = join(import.meta.dirname, '../peers');
const GATEWAY = join(PEERS, 'node_modules/@portkey-ai/gateway/build/start-server.js');

/** Portkey's reader of upstream streams waits this long before it hands on the first event (its source, 1.15.2). */
export const PORTKEY_STREAM_PAUSE_MS = 25;

/**
 * Starts Portkey's gateway as npm has it, installing it on first use.
 * @throws Error when it can't be installed (there is no network, say) or does not start
 */
export async function startPortkey(): Promise<ServerProcess> {
  if (!existsSync(GATEWAY)) await installPeers();
  return startServerOnPort(GATEWAY, (port) => ['--headless', `--port=${port}`]);
}

/** Headers that make the gateway ask `upstream`, as an OpenAI endpoint. */
export function portkeyHeaders(upstream: string): Record<string, string> {
  return { 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `${upstream}/v1`, authorization: 'Bearer any' };
}

async function installPeers(): Promise<void> {
  console.log('Installing the peers to compare with (bench/peers), once.');
  // Without install scripts: one of them wants tools that only a checkout of the gateway has.
  const install = spawn('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: PEERS, stdio: 'inherit' });
  const [code] = await once(install, 'exit');
  if (code !== 0) throw new Error(`npm ci in ${PEERS} failed: the benchmark against Portkey's gateway needs it`);
}
