import { LambentError } from '../core/errors.ts';
import { UpstreamError } from '../inference/model.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import type { Lane } from './job.ts';

type Models = Pick<ModelRegistry, 'models'>;

/**
 * Returns the lane of a model's jobs: `gpu` if one of the model's own targets is on GPU workers. The jobs of a model that only
 * falls back to such a model begin on the default lane, so that no worker is started while the model's own targets answer.
 */
export function laneOf(model: string, registry: Models): Lane | undefined {
  return isOnGpus(model, registry) ? 'gpu' : undefined;
}

/**
 * Returns the lane on which a fallback of `model` may still answer, after all targets that the default lane reaches have failed
 * with `thrown`. Undefined if there is no such fallback, if the request is at fault, or if the answer had begun.
 */
export function fallbackLaneOf(model: string, thrown: unknown, registry: Models): Lane | undefined {
  if (!mayAnswerElsewhere(thrown)) return undefined;
  const names = [model];
  // Grows while it is walked, and a cycle ends because a name is added once.
  for (const name of names) {
    if (isOnGpus(name, registry)) return 'gpu';
    for (const fallback of aliasOf(name, registry)?.fallbacks ?? [])
      if (!names.includes(fallback)) names.push(fallback);
  }
  return undefined;
}

function mayAnswerElsewhere(thrown: unknown): boolean {
  if (thrown instanceof UpstreamError) return thrown.recovery !== 'fail' && thrown.code !== 'upstream_cut';
  // All targets within reach are given a rest.
  return thrown instanceof LambentError && thrown.code === 'overloaded';
}

function isOnGpus(model: string, registry: Models): boolean {
  return aliasOf(model, registry)?.targets.some(({ provider }) => provider === 'gpu') ?? false;
}

function aliasOf(model: string, { models }: Models): ModelRegistry['models'][string] | undefined {
  return Object.hasOwn(models, model) ? models[model] : undefined;
}
