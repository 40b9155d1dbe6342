import type { GenerationRequest } from './generation.ts';

/** What a target can be asked for. A request needs some of them; the router offers it only to targets that have all. */
export const CAPABILITIES = [
  'images',
  'imageUrls',
  'tools',
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

export type Capability = (typeof CAPABILITIES)[number];

/** One thing a request needs, and the caller's parameter that asks for it. */
export interface Requirement {
  readonly capability: Capability;
  readonly param: string;
}

/** Lists what `request` needs of a target, in the order in which a caller would like to hear of it. */
export function listRequirements(request: GenerationRequest): Requirement[] {
  const needs: Requirement[] = [];
  const need = (capability: Capability, internalName: string): void => {
    needs.push({ capability, param: request.parameterNames[internalName] ?? internalName });
  };
  request.messages.forEach((message, index) => {
    if (message.role === 'tool' || message.role === 'user') {
      for (const part of message.content) {
        if (part.type !== 'image') continue;
        needs.push({ capability: 'url' in part ? 'imageUrls' : 'images', param: part.param });
      }
    }
    if ('name' in message && message.name !== undefined) {
      needs.push({ capability: 'names', param: `${request.parameterNames['messages'] ?? 'messages'}[${index}].name` });
    }
  });
  if (request.tools.length > 0) {
    need('tools', 'tools');
    if (request.tools.some((tool) => tool.strict)) need('strictTools', 'tools');
    if (!request.parallelToolCalls) need('singleToolCall', 'parallelToolCalls');
  }
  if (request.format.type === 'json') need('json', 'format');
  if (request.format.type === 'jsonSchema') need(request.format.strict ? 'strictJsonSchema' : 'jsonSchema', 'format');
  if (request.seed !== undefined) need('seed', 'seed');
  if (request.stop.length > 0) need('stop', 'stop');
  if ((request.frequencyPenalty ?? 0) !== 0) need('penalties', 'frequencyPenalty');
  if ((request.presencePenalty ?? 0) !== 0) need('penalties', 'presencePenalty');
  if (request.logitBias && Object.keys(request.logitBias).length > 0) need('logitBias', 'logitBias');
  if (request.topLogprobs !== undefined) need('logprobs', 'topLogprobs');
  if (request.reasoningEffort !== undefined && request.reasoningEffort !== 'none') need('reasoning', 'reasoningEffort');
  if (request.verbosity !== undefined && request.verbosity !== 'medium') need('verbosity', 'verbosity');
  return needs;
}
