import { type ServerProcess, startServerOnPort } from '../processes.ts';
import { resolvePeerFile } from './peers.ts';

/**
 * Milliseconds that Portkey's reader of upstream streams sleeps before it forwards the first event (source of 1.15.2).
 */
export const PORTKEY_STREAM_PAUSE_MS = 25;

/**
 * Starts Portkey's gateway from npm. Installs it on first use.
 * @throws Error if the gateway can't be installed, for example without a network, or does not start
 */
export async function startPortkey(): Promise<ServerProcess> {
  const gateway = await resolvePeerFile('@portkey-ai/gateway/build/start-server.js');
  return startServerOnPort(gateway, (port) => ['--headless', `--port=${port}`]);
}

/** Returns headers that make the gateway forward to `upstream` as an OpenAI endpoint. */
export function createPortkeyHeaders(upstream: string): Record<string, string> {
  return { 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `${upstream}/v1`, authorization: 'Bearer any' };
}
