import type { ConverseStreamCommandInput } from '@aws-sdk/client-bedrock-runtime';
import { omitUndefined } from '../../../core/objects.ts';
import type { GenerationRequest } from '../../generation.ts';
import type { BedrockFamily } from './family.ts';
import type { ReasoningPlan } from './reasoning.ts';
import { unsupportedValueError } from './value-errors.ts';

type InferenceConfig = NonNullable<ConverseStreamCommandInput['inferenceConfig']>;

/** The lowest `top_p` that Claude accepts while it thinks. */
const LOWEST_THINKING_TOP_P = 0.95;

/**
 * Returns Converse's `inferenceConfig`. A parameter whose value is OpenAI's default asks for nothing and is left out where
 * the model would refuse it.
 * @param maxTokens the output limit of the call
 * @throws UpstreamError `unsupported_value` for values that the model refuses
 */
export function buildInferenceConfig(
  request: GenerationRequest,
  model: string,
  family: BedrockFamily,
  reasoning: ReasoningPlan,
  maxTokens: number | undefined,
): InferenceConfig {
  const stop = planStop(request, family);
  return {
    ...(reasoning.sendsMaxTokens && maxTokens !== undefined && { maxTokens }),
    ...omitUndefined(planSampling(request, model, family, reasoning)),
    ...(stop.length > 0 && { stopSequences: stop }),
  };
}

interface Sampling {
  readonly temperature: number | undefined;
  readonly topP: number | undefined;
}

function planSampling(
  request: GenerationRequest,
  model: string,
  family: BedrockFamily,
  reasoning: ReasoningPlan,
): Sampling {
  const { temperature, topP } = request;
  if (temperature !== undefined && temperature > 1)
    throw unsupportedValueError(request, 'temperature', 'this model accepts 0 to 1');
  if (family.sampling === 'fixed') return planFixedSampling(request);
  if (family.name === 'claude' && reasoning.on) return planThinkingSampling(request);
  // Cohere's models refuse both ends of the range.
  if (model.includes('cohere.') && topP !== undefined)
    return { temperature, topP: Math.min(0.99, Math.max(0.01, topP)) };
  if (family.sampling === 'free' || temperature === undefined || topP === undefined) return { temperature, topP };
  if (topP === 1) return { temperature, topP: undefined };
  if (temperature === 1) return { temperature: undefined, topP };
  throw unsupportedValueError(request, 'topP', "this model doesn't accept it together with a temperature");
}

function planFixedSampling(request: GenerationRequest): Sampling {
  for (const name of ['temperature', 'topP'] as const) {
    if ((request[name] ?? 1) !== 1)
      throw unsupportedValueError(request, name, 'this model accepts only the default, 1');
  }
  return { temperature: undefined, topP: undefined };
}

function planThinkingSampling(request: GenerationRequest): Sampling {
  const { temperature = 1, topP = 1 } = request;
  if (temperature !== 1)
    throw unsupportedValueError(request, 'temperature', 'this model accepts only the default, 1, while it thinks');
  if (topP < LOWEST_THINKING_TOP_P)
    throw unsupportedValueError(request, 'topP', `this model accepts ${LOWEST_THINKING_TOP_P} to 1 while it thinks`);
  return { temperature: undefined, topP: topP === 1 ? undefined : topP };
}

function planStop(request: GenerationRequest, family: BedrockFamily): string[] {
  // An empty sequence ends nothing.
  const stop = request.stop.filter((text) => text !== '');
  if (family.name === 'claude' && stop.some((text) => text.trim() === ''))
    throw unsupportedValueError(request, 'stop', 'this model accepts no stop sequence of only white space');
  return stop;
}
