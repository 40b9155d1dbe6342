import { resolve } from 'node:path';
import { startWorkers, type Workers } from './engine/workers.ts';
import { type FunctionBundles, startBundling } from './function-bundles.ts';
import { runPhase } from './phases.ts';
import { LOCAL_STAGE, printService } from './service/print.ts';
import type { Settings } from './settings.ts';

const ROOT = resolve(import.meta.dirname, '..');

/** Number of GPU worker stand-ins if `GPU_WORKERS` is not set. */
const DEFAULT_GPU_WORKERS = 2;

/** The parts that `startInAdvance` starts and whose results are needed later. */
export interface HeadStart {
  readonly bundles: FunctionBundles;
  readonly workers: Promise<Workers>;
}

/** Starts the parts that run in other processes, so that they start while this process still loads its modules. */
export function startInAdvance(settings: Settings): HeadStart {
  const count = process.env['MODELS_FILE'] ? 0 : (settings.GPU_WORKERS ?? DEFAULT_GPU_WORKERS);
  const workers = runPhase('start GPU workers', () => startWorkers({ count }));
  const service = runPhase('read serverless.yml', () => printService({ root: ROOT, stage: LOCAL_STAGE }));
  const bundles = startBundling(resolve(ROOT, '.build'));
  // Callers that await a part get its error. Without this handler, an error before the first caller awaits the part
  // would end the process as an unhandled rejection.
  for (const part of [workers, service]) part.catch(() => undefined);
  return { bundles, workers };
}
