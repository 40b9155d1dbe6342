import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { selectMode } from '../../local/lambda/function.ts';
import { startServer } from '../processes.ts';
import { defineFunction, writeHostedModels } from './functions.ts';

/**
 * `managed`: one process of an HTTP function serves many requests at once, as with `npm start`. `standard`: one at a
 * time.
 */
export type LambdaMode = 'managed' | 'standard';

/** The three measured setups of Lambent. */
export interface LambentServers extends AsyncDisposable {
  /** The chat function's code in one process, without the Lambda runner. */
  readonly handlerUrl: string;
  /** The chat function under the Lambda runner, behind a minimal HTTP front. */
  readonly runnerUrl: string;
  /** Everything that `npm start` puts between a client and the upstream. */
  readonly cloudUrl: string;
}

/** Starts the three setups in front of `upstream`, with the bundles that are packaged for AWS. */
export async function startLambent(upstream: string, mode: LambdaMode): Promise<LambentServers> {
  await using started = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'lambent-bench-'));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const models = await writeHostedModels(folder, upstream);
  const bundles = await bundleFunctions({ outDir: join(folder, 'bundles'), models });
  const chat = bundles.find(({ name }) => name === 'chat');
  if (chat === undefined) throw new Error('there is no function chat');
  const definition = defineFunction(chat, { MODELS_FILE: models });
  const managed = mode === 'managed' ? 'interactive' : [];
  const start = async (file: string, args: readonly string[]) =>
    started.use(await startServer(join(import.meta.dirname, file), args));
  const handler = await start('handler.ts', [JSON.stringify(definition)]);
  const runner = await start('runner.ts', [JSON.stringify(selectMode(definition, managed))]);
  const cloud = await start('cloud.ts', [join(folder, 'state'), join(folder, 'bundles'), models, mode]);
  const running = started.move();
  return {
    handlerUrl: handler.url,
    runnerUrl: runner.url,
    cloudUrl: cloud.url,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
