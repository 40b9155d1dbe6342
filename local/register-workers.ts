import { existsSync } from 'node:fs';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import type { Workers } from './engine/workers.ts';
import type { Runner } from './lambda/runner.ts';
import { runSchedule } from './schedules.ts';
import type { Service } from './service/service.ts';

export interface RegisterOptions {
  readonly service: Pick<Service, 'schedules' | 'region'>;
  readonly runner: Pick<Runner, 'invoke'>;
  /** Path of the model registry that the functions have; absent if they have none. */
  readonly modelsFile: string | undefined;
  /** GPU workers of this machine. */
  readonly gpuWorkers: Workers | undefined;
}

/**
 * Runs the `fleet` function now instead of at its next scheduled time, so that GPU workers are registered when the cloud starts,
 * and again when a worker of this machine has restarted, of which an ECS event informs it in AWS. Does nothing without fleets.
 */
export async function registerWorkers({ service, runner, modelsFile, gpuWorkers }: RegisterOptions): Promise<void> {
  if (!hasFleets(modelsFile)) return;
  const schedules = service.schedules.filter(({ function: name }) => name === 'fleet');
  let isRunning = false;
  const run = async (): Promise<void> => {
    // A run keeps probing workers that are out of service. If a worker that keeps crashing started a run each time, they
    // would use up the function's concurrency.
    if (isRunning) return;
    isRunning = true;
    await Promise.all(schedules.map((schedule) => runSchedule(schedule, service.region, runner)));
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
