import type { Registry } from '../inference/registry.ts';
import type { Lane } from './job.ts';

/**
 * The lane of jobs that ask for `model`: that of GPU workers when one of the model's own targets is on them. A model that only
 * falls back to such a one stays on the generation queue, and does without.
 */
export function laneOf(model: string, { models }: Pick<Registry, 'models'>): Lane | undefined {
  const alias = Object.hasOwn(models, model) ? models[model] : undefined;
  return alias?.targets.some(({ provider }) => provider === 'gpu') ? 'gpu' : undefined;
}
