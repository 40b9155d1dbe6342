import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { registerWorkers } from '../../local/register-workers.ts';
import { waitUntil } from '../wait.ts';
import { createEmptyResponse } from './runners.ts';

it('restarts of workers during a run of the fleet function cause one more run after it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-'));
  const modelsFile = join(folder, 'models.json');
  const models = { gpu: { targets: [{ provider: 'gpu', model: 'm', fleet: 'local' }] } };
  await writeFile(modelsFile, JSON.stringify({ models, fleets: { local: {} } }));
  const runs: PromiseWithResolvers<void>[] = [];
  let restart = (): void => {};
  const registered = registerWorkers({
    service: {
      schedules: [{ function: 'fleet', expression: 'rate(1 minute)', input: undefined }],
      region: 'eu-west-1',
    },
    runner: {
      async invoke() {
        const run = Promise.withResolvers<void>();
        runs.push(run);
        await run.promise;
        return createEmptyResponse();
      },
    },
    modelsFile,
    gpuWorkers: {
      workers: [],
      getPid: () => undefined,
      onRestart: (listener) => {
        restart = listener;
      },
      close: async () => {},
    },
  });
  restart();
  restart();
  expect(runs).toHaveLength(1);
  runs[0]?.resolve();
  await waitUntil('the second run begins', () => runs.length === 2);
  runs[1]?.resolve();
  await registered;
  expect(runs).toHaveLength(2);
  restart();
  expect(runs).toHaveLength(3);
  runs[2]?.resolve();
  await rm(folder, { recursive: true });
});
