import type { ChatCompletion } from 'openai/resources/chat/completions';
import type { Response } from 'openai/resources/responses/responses';
import { type Moderation, type ModerationReport, mapCategories } from '../../inference/moderation.ts';

/** Encodes the moderation of a response and its request. */
export function encodeResponseModeration({ model, input, output }: ModerationReport): Response.Moderation {
  const encode = (each: ModerationReport['input']): Response.Moderation['input'] =>
    'code' in each ? { type: 'error', ...each } : encodeResult(each, model);
  return { input: encode(input), output: encode(output) };
}

/** Encodes the moderation of a chat completion and its request. In this API, each is a list of results. */
export function encodeChatModeration({ model, input, output }: ModerationReport): ChatCompletion.Moderation {
  const encode = (each: ModerationReport['input']): ChatCompletion.Moderation['input'] =>
    'code' in each
      ? { type: 'error', ...each }
      : { type: 'moderation_results', model, results: [encodeResult(each, model)] };
  return { input: encode(input), output: encode(output) };
}

function encodeResult(
  { flagged, categories, scores, inputTypes }: Moderation,
  model: string,
): Response.Moderation.ModerationResult {
  return {
    type: 'moderation_result',
    model,
    flagged,
    categories: { ...categories },
    category_scores: { ...scores },
    category_applied_input_types: mapCategories((each) => [...inputTypes[each]]),
  };
}
