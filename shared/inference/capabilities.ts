import type { GenerationRequest } from './generation.ts';

/** The capabilities of targets. The router sends a request only to targets that have every capability it requires. */
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
] as const;

/**
 * Capabilities that hardly any upstream with OpenAI's API has: a target without a list of its own doesn't have them. A
 * target without `customTools` gets functions instead.
 */
export const RARE_CAPABILITIES: readonly Capability[] = ['customTools', 'hostedTools'];

export type Capability = (typeof CAPABILITIES)[number];

/** A capability that a request requires, and the caller's parameter that requires it. */
export interface Requirement {
  readonly capability: Capability;
  readonly param: string;
}

/** Lists the capabilities that `request` requires. If several are missing, the error names the first. */
export function listRequirements(request: GenerationRequest): Requirement[] {
  const requirements: Requirement[] = [];
  const add = (capability: Capability, internalName: string): void => {
    requirements.push({ capability, param: request.parameterNames[internalName] ?? internalName });
  };
  request.messages.forEach((message, index) => {
    if (message.role === 'tool' || message.role === 'user') {
      for (const part of message.content) {
        if (part.type === 'image') {
          requirements.push({ capability: 'url' in part ? 'imageUrls' : 'images', param: part.param });
        }
        // A text document can be sent as text.
        if (part.type === 'document' && part.mediaType === 'application/pdf') {
          requirements.push({ capability: 'documents', param: part.param });
        }
      }
    }
    if ('name' in message && message.name !== undefined) {
      requirements.push({
        capability: 'names',
        param: `${request.parameterNames['messages'] ?? 'messages'}[${index}].name`,
      });
    }
  });
  if (request.tools.length > 0) {
    add('tools', 'tools');
    if (request.tools.some((tool) => tool.strict)) add('strictTools', 'tools');
    if (!request.parallelToolCalls) add('singleToolCall', 'parallelToolCalls');
  }
  // Custom tools need no capability: a function stands for them.
  if (request.hostedTools !== undefined) add('hostedTools', 'tools');
  if (request.format.type === 'json') add('json', 'format');
  if (request.format.type === 'jsonSchema') add(request.format.strict ? 'strictJsonSchema' : 'jsonSchema', 'format');
  if (request.seed !== undefined) add('seed', 'seed');
  if (request.stop.length > 0) add('stop', 'stop');
  if ((request.frequencyPenalty ?? 0) !== 0) add('penalties', 'frequencyPenalty');
  if ((request.presencePenalty ?? 0) !== 0) add('penalties', 'presencePenalty');
  if (request.logitBias && Object.keys(request.logitBias).length > 0) add('logitBias', 'logitBias');
  if (request.topLogprobs !== undefined) add('logprobs', 'topLogprobs');
  if (request.reasoningEffort !== undefined && request.reasoningEffort !== 'none') add('reasoning', 'reasoningEffort');
  if (request.verbosity !== undefined && request.verbosity !== 'medium') add('verbosity', 'verbosity');
  return requirements;
}
