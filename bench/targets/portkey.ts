import { type ServerProcess, startServerOnPort } from '../processes.ts';
import { resolvePeerFile } from './peers.ts';

/** Portkey's reader of upstream streams waits this long before it hands on the first event (its source, 1.15.2). */
export const PORTKEY_STREAM_PAUSE_MS = 25;

/**
 * Starts Portkey's gateway as npm has it, installing it on first use.
 * @throws Error when it can't be installed (there is no network, say) or does not start
 */
export async function startPortkey(): Promise<ServerProcess> {
  const gateway = await resolvePeerFile('@portkey-ai/gateway/build/start-server.js');
  return startServerOnPort(gateway, (port) => ['--headless', `--port=${port}`]);
}

/** Headers that make the gateway ask `upstream`, as an OpenAI endpoint. */
export function createPortkeyHeaders(upstream: string): Record<string, string> {
  return { 'x-portkey-provider': 'openai', 'x-portkey-custom-host': `${upstream}/v1`, authorization: 'Bearer any' };
}
