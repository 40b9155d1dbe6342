import type { Candidate } from './candidates.ts';
import type { GenerationRequest } from './generation.ts';
import { getLimits } from './model-limits.ts';
import { estimatePromptTokens } from './prompt-tokens.ts';

/** Share of the estimated prompt that is added to it, because dense text has more tokens than the estimate. */
const MARGIN = 0.25;
/** The least that is left for an answer. A prompt that leaves less is refused by the model, which counts exactly. */
const MIN_ANSWER_TOKENS = 256;

/**
 * Returns the request with an output limit that the target accepts: at most its own limit, and at most what the prompt
 * leaves of its context. The request is unchanged if neither lowers the limit.
 */
export function limitOutput(request: GenerationRequest, { alias, target }: Candidate): GenerationRequest {
  const { maxOutputTokens, contextTokens } = getLimits(alias, target);
  const requested = request.maxOutputTokens ?? maxOutputTokens;
  if (requested === undefined) return request;
  const limit = Math.min(requested, maxOutputTokens ?? requested, leaveRoom(request, requested, contextTokens));
  return limit === requested ? request : { ...request, maxOutputTokens: limit };
}

/** Returns how long an answer may be so that prompt and answer fit into the context; `requested` if both fit anyway. */
function leaveRoom(request: GenerationRequest, requested: number, contextTokens: number | undefined): number {
  if (contextTokens === undefined || requested + countCharacters(request) < contextTokens) return requested;
  const room = contextTokens - Math.ceil(estimatePromptTokens(request) * (1 + MARGIN));
  return Math.max(Math.min(MIN_ANSWER_TOKENS, requested), Math.min(requested, room));
}

/** Returns an upper bound of the prompt's tokens that is fast to compute: its characters, images as their base64. */
function countCharacters({ messages, tools, format }: GenerationRequest): number {
  let characters = 0;
  for (const { content } of messages) {
    for (const part of content) {
      if ('text' in part) characters += part.text.length;
      else if ('base64' in part) characters += part.base64.length;
      else if ('arguments' in part) characters += part.name.length + part.arguments.length;
      else characters += ASSUMED_CHARACTERS;
    }
  }
  return characters + (tools.length + (format.type === 'text' ? 0 : 1)) * ASSUMED_CHARACTERS;
}

/** More than almost any image by URL, or schema, has tokens. */
const ASSUMED_CHARACTERS = 4_000;
