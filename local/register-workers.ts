import { existsSync } from 'node:fs';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import type { Workers } from './engine/workers.ts';
import type { Runner } from './lambda/runner.ts';
import { runSchedule } from './schedules.ts';
import type { Service } from './service/service.ts';

export interface RegisterOptions {
  readonly service: Pick<Service, 'schedules' | 'region'>;
  readonly runner: Pick<Runner, 'invoke'>;
  /** Path of the functions' model registry; undefined if they have none. */
  readonly modelsFile: string | undefined;
  /** GPU workers on this machine. */
  readonly gpuWorkers: Workers | undefined;
}

/**
 * Runs the `fleet` function at once instead of at its next scheduled time, so that GPU workers are registered when the
 * cloud starts. Runs it again after each restart of a worker on this machine; in AWS, an ECS event triggers that run.
 * Does nothing if the model registry has no fleets.
 */
export async function registerWorkers({ service, runner, modelsFile, gpuWorkers }: RegisterOptions): Promise<void> {
  if (!hasFleets(modelsFile)) return;
  const schedules = service.schedules.filter(({ function: name }) => name === 'fleet');
  let isRunning = false;
  let isRequested = false;
  const run = async (): Promise<void> => {
    isRequested = true;
    // If each restart of a crashing worker started another run, the runs would use up the function's concurrency. One
    // more run follows, because the current one may have probed the worker before its restart.
    if (isRunning) return;
    isRunning = true;
    while (isRequested) {
      isRequested = false;
      await Promise.all(schedules.map((schedule) => runSchedule(schedule, service.region, runner)));
    }
    isRunning = false;
  };
  gpuWorkers?.onRestart(() => void run());
  await run();
}

function hasFleets(modelsFile: string | undefined): boolean {
  // The functions report a missing file.
  if (modelsFile === undefined || !existsSync(modelsFile)) return false;
  return Object.keys(readModelRegistry(modelsFile).fleets).length > 0;
}
