import { LambentError } from '../core/errors.ts';
import { UpstreamError } from '../inference/model.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import type { Lane } from './job.ts';

type Models = Pick<ModelRegistry, 'models'>;

/**
 * The lane of jobs that ask for `model`: that of GPU workers when one of the model's own targets is on them. A model that only
 * falls back to such a one begins on the generation queue, so that no worker is asked for as long as its own targets answer.
 */
export function laneOf(model: string, registry: Models): Lane | undefined {
  return isOnGpus(model, registry) ? 'gpu' : undefined;
}

/**
 * The lane on which a fallback of `model` may still answer, where its targets and the fallbacks within reach of the generation
 * queue have failed with `thrown`. None when that was the request's fault, or came in the middle of an answer.
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
