import { join } from 'node:path';
import { LOCAL_API_KEY } from '../../local/seed.ts';
import { startServer } from '../processes.ts';
import { type LambdaMode, startLambent } from './lambent.ts';
import { createPortkeyHeaders, startPortkey } from './portkey.ts';

export const DIRECT = 'direct';
export const PROXY = 'bare node:http proxy';
export const PORTKEY = 'Portkey’s gateway';
export const HANDLER = 'Lambent, function alone';
export const RUNNER = 'Lambent, function under the Lambda runner';
export const CLOUD = 'Lambent, whole local cloud';

/** A measured server, and the headers that requests to it need. */
export interface Target {
  readonly label: string;
  /** Base URL, without `/v1/chat/completions`. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** How the upstream streams. */
export interface Pace {
  readonly tokens: number;
  /** 0: as fast as single tokens can be written. */
  readonly intervalMs: number;
}

/** Starts an upstream and all targets in front of it, runs `measure`, and stops them all. */
export async function runWithTargets<Result>(
  { tokens, intervalMs }: Pace,
  mode: LambdaMode,
  measure: (targets: readonly Target[]) => Promise<Result>,
): Promise<Result> {
  await using upstream = await startServer(resolveFile('upstream.ts'), [`${tokens}`, `${intervalMs}`]);
  await using proxy = await startServer(resolveFile('proxy.ts'), [upstream.url]);
  await using portkey = await startPortkey();
  await using lambent = await startLambent(upstream.url, mode);
  const bearer = { authorization: `Bearer ${LOCAL_API_KEY}` };
  // Awaited here, because returning the promise would stop the targets while they are in use.
  return await measure([
    { label: DIRECT, url: upstream.url, headers: bearer },
    { label: PROXY, url: proxy.url, headers: bearer },
    { label: HANDLER, url: lambent.handlerUrl, headers: bearer },
    { label: RUNNER, url: lambent.runnerUrl, headers: bearer },
    { label: CLOUD, url: lambent.cloudUrl, headers: bearer },
    { label: PORTKEY, url: portkey.url, headers: createPortkeyHeaders(upstream.url) },
  ]);
}

const resolveFile = (name: string) => join(import.meta.dirname, name);
