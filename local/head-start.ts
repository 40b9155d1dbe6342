import { resolve } from 'node:path';
import { startWorkers, type Workers } from './engine/workers.ts';
import { type FunctionBundles, startBundling } from './function-bundles.ts';
import { runPhase } from './phases.ts';
import { LOCAL_STAGE, printService } from './service/print.ts';
import type { Settings } from './settings.ts';

const ROOT = resolve(import.meta.dirname, '..');

/** GPU worker stand-ins, unless `GPU_WORKERS` gives another number. */
const DEFAULT_GPU_WORKERS = 2;

export interface HeadStart {
  readonly bundles: FunctionBundles;
  readonly workers: Promise<Workers>;
}

/** Starts the parts that run in processes of their own, so that they start while this process still loads its modules. */
export function startInAdvance(settings: Settings): HeadStart {
  const count = process.env['MODELS_FILE'] ? 0 : (settings.GPU_WORKERS ?? DEFAULT_GPU_WORKERS);
  const workers = runPhase('start GPU workers', () => startWorkers({ count }));
  const service = runPhase('read serverless.yml', () => printService({ root: ROOT, stage: LOCAL_STAGE }));
  const bundles = startBundling(resolve(ROOT, '.build'));
  // Those who need a result get its error. Without this, an error that comes before they ask would end the process.
  for (const part of [workers, service]) part.catch(() => undefined);
  return { bundles, workers };
}
