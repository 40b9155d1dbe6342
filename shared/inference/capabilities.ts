import type { GenerationRequest } from './generation.ts';

/**
 * The capabilities of targets. The router sends a request only to targets that have what the answer needs
 * (`listRequirements`), and adapts it to a target that lacks what the caller prefers (`adaptRequest`).
 */
export const CAPABILITIES = [
  'images',
  'imageUrls',
  'documents',
  'tools',
  'customTools',
  'hostedTools',
  'strictTools',
  'singleToolCall',
  'json',
  'jsonSchema',
  'strictJsonSchema',
  'seed',
  'stop',
  'penalties',
  'logitBias',
  'logprobs',
  'reasoning',
  'verbosity',
  'names',
  'serviceTiers',
] as const;

/**
 * Capabilities that hardly any upstream with OpenAI's API has: a target without a list of its own doesn't have them. A
 * target without `customTools` gets functions instead.
 */
export const RARE_CAPABILITIES: readonly Capability[] = ['customTools', 'hostedTools', 'serviceTiers'];

export type Capability = (typeof CAPABILITIES)[number];

/** A need of a request: a target needs one of these capabilities. */
export interface Requirement {
  /** The one that serves the request best first. */
  readonly capabilities: readonly [Capability, ...Capability[]];
  /** The caller's parameter that requires it. */
  readonly param: string;
}

/** How an alias treats strict schemas on targets that don't enforce them: the setting `strictOutput`. */
export type StrictOutput = 'check' | 'hold' | 'refuse';

/** The formats by which an answer can get the form of a schema. */
const JSON_FORMATS = ['strictJsonSchema', 'jsonSchema', 'json'] as const;

/** Lists what the answer to `request` needs. If several needs are not met, the error names the first. */
export function listRequirements(request: GenerationRequest, strictOutput: StrictOutput): Requirement[] {
  const requirements: Requirement[] = [];
  const add = (internalName: string, ...capabilities: Requirement['capabilities']): void => {
    requirements.push({ capabilities, param: request.parameterNames[internalName] ?? internalName });
  };
  for (const message of request.messages) {
    if (message.role === 'tool' || message.role === 'user') {
      for (const part of message.content) {
        if (part.type === 'image') {
          requirements.push({ capabilities: ['url' in part ? 'imageUrls' : 'images'], param: part.param });
        }
        // A text document can be sent as text.
        if (part.type === 'document' && part.mediaType === 'application/pdf') {
          requirements.push({ capabilities: ['documents'], param: part.param });
        }
      }
    }
  }
  if (request.tools.length > 0) {
    add('tools', 'tools');
    if (strictOutput === 'refuse' && request.tools.some((tool) => tool.strict)) add('tools', 'strictTools');
  }
  // Custom tools need no capability: a function stands for them.
  if (request.hostedTools !== undefined) add('tools', 'hostedTools');
  if (request.format.type === 'json') add('format', 'json');
  if (request.format.type === 'jsonSchema') {
    if (strictOutput === 'refuse' && request.format.strict) add('format', 'strictJsonSchema');
    else add('format', ...JSON_FORMATS);
  }
  if (request.stop.length > 0) add('stop', 'stop');
  if ((request.frequencyPenalty ?? 0) !== 0) add('frequencyPenalty', 'penalties');
  if ((request.presencePenalty ?? 0) !== 0) add('presencePenalty', 'penalties');
  if (request.logitBias && Object.keys(request.logitBias).length > 0) add('logitBias', 'logitBias');
  if (request.topLogprobs !== undefined) add('topLogprobs', 'logprobs');
  return requirements;
}

/**
 * Lists the capabilities without which the answer to `request` is only an approximation. Of the targets of an alias, those
 * that have all of them come first.
 */
export function listPreferences(request: GenerationRequest): Capability[] {
  const preferences: Capability[] = [];
  if (request.tools.some((tool) => tool.strict)) preferences.push('strictTools');
  if (request.tools.length > 0 && !request.parallelToolCalls) preferences.push('singleToolCall');
  if (request.format.type === 'jsonSchema') preferences.push(request.format.strict ? 'strictJsonSchema' : 'jsonSchema');
  if (wantsReasoning(request)) preferences.push('reasoning');
  return preferences;
}

/** Returns whether a request asks the model to reason. */
export function wantsReasoning({ reasoningEffort, reasoningBudget }: GenerationRequest): boolean {
  return reasoningBudget !== undefined || (reasoningEffort !== undefined && reasoningEffort !== 'none');
}
