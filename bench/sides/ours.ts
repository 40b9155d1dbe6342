import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startServer } from '../processes.ts';
import { startAccessTable } from './access-table.ts';
import { ACCESS_TABLE, bundled, writeHostedModels } from './functions.ts';

/** Lambent, as it is measured from outside. */
export interface Ours extends AsyncDisposable {
  /** The chat function's code in one process, without Lambda around it. */
  readonly handlerUrl: string;
  /** The chat function under the Lambda runner, behind the least of a front. */
  readonly runnerUrl: string;
  /** The front that stands for API Gateway, the authorizer and the chat function. */
  readonly cloudUrl: string;
}

/** Starts Lambent thrice in front of `upstream`, from the bundles that are packaged for AWS. */
export async function startOurs(upstream: string): Promise<Ours> {
  await using started = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'lambent-bench-'));
  started.defer(() => rm(folder, { recursive: true }));
  const models = await writeHostedModels(folder, upstream);
  const table = started.use(await startAccessTable(ACCESS_TABLE));
  const environment = { AWS_ENDPOINT_URL_DYNAMODB: table.url, ACCESS_TABLE };
  const chat = await bundled('functions/chat.ts', folder, { MODELS_FILE: models });
  const authorize = await bundled('functions/authorize.ts', folder, environment);
  const start = async (file: string, definitions: readonly object[]) =>
    started.use(await startServer(join(import.meta.dirname, file), [JSON.stringify(definitions)]));
  const handler = await start('handler.ts', [chat]);
  const runner = await start('runner.ts', [chat]);
  const cloud = await start('cloud.ts', [chat, authorize]);
  const running = started.move();
  return {
    handlerUrl: handler.url,
    runnerUrl: runner.url,
    cloudUrl: cloud.url,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
