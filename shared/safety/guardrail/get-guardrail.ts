import { LambentError } from '../../core/errors.ts';
import { getOrCreate } from '../../core/get-or-create.ts';
import { getBedrockClient } from '../../inference/providers/bedrock/bedrock.ts';
import type { GuardrailTarget, ModelRegistry } from '../../inference/registry.ts';
import { createBedrockGuardrail, type Guardrail } from './bedrock-guardrail.ts';

/** Guardrails by id, version and region. As many as the registry names. */
const guardrails = new Map<string, Guardrail>();

/** Returns a guardrail of the registry. Guardrails of a region share a client, which is created with the first. */
export function getGuardrail(target: GuardrailTarget): Guardrail {
  return getOrCreate(guardrails, JSON.stringify(target), () =>
    createBedrockGuardrail(target, getBedrockClient(target.region)),
  );
}

/**
 * Returns the guardrail that a policy names.
 * @throws LambentError `configuration` if the registry doesn't have it
 */
export function findGuardrail(targets: ModelRegistry['guardrails'], name: string): Guardrail {
  const target = Object.hasOwn(targets, name) ? targets[name] : undefined;
  if (target !== undefined) return getGuardrail(target);
  throw new LambentError('configuration', `The policy names a guardrail that models.json doesn't have: ${name}`);
}
