import type { ModelRegistry } from '../../inference/registry.ts';
import type { GenerateOptions } from '../../inference/router.ts';
import type { FindNames } from './mask-request.ts';
import type { AppliedRules } from './rules.ts';

/** Returns what finds names and addresses by the guardrails of the rules, loaded only if there are any. */
export async function openNameFinder(
  { guardrails }: AppliedRules,
  registry: Pick<ModelRegistry, 'guardrails'>,
  call: Pick<GenerateOptions, 'signal' | 'telemetry'>,
): Promise<FindNames | undefined> {
  if (guardrails.length === 0) return undefined;
  const { createNameFinder } = await import('./name-finder.ts');
  return createNameFinder(guardrails, registry, call);
}
