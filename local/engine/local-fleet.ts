import { type LocalWorker, WORKER_DEFAULTS } from './workers.ts';

/**
 * Returns the registry entries of the local workers: the model `gpu` and its fleet `local`. Without workers, there are
 * no entries.
 */
export function describeLocalFleet(workers: readonly LocalWorker[]): {
  readonly models: object;
  readonly fleets: object;
} {
  if (workers.length === 0) return { models: {}, fleets: {} };
  const { model, contextTokens } = WORKER_DEFAULTS;
  const gpu = {
    targets: [{ provider: 'gpu', model, fleet: 'local' }],
    contextTokens,
    maxOutputTokens: contextTokens / 8,
  };
  return { models: { gpu }, fleets: { local: { workers } } };
}
