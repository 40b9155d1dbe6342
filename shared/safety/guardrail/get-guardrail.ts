import { getOrCreate } from '../../core/get-or-create.ts';
import { getBedrockClient } from '../../inference/providers/bedrock/bedrock.ts';
import type { GuardrailTarget } from '../../inference/registry.ts';
import { createBedrockGuardrail, type Guardrail } from './bedrock-guardrail.ts';

/** Guardrails by id, version and region. As many as the registry names. */
const guardrails = new Map<string, Guardrail>();

/** Returns a guardrail of the registry. Guardrails of a region share a client, which is created with the first. */
export function getGuardrail(target: GuardrailTarget): Guardrail {
  return getOrCreate(guardrails, JSON.stringify(target), () =>
    createBedrockGuardrail(target, getBedrockClient(target.region)),
  );
}
