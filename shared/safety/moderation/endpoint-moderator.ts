import {
  type Category,
  type Moderation,
  type ModerationPart,
  type Moderator,
  mapCategories,
} from '../../inference/moderation.ts';
import { malformedAnswerError } from '../../inference/providers/openai-compatible/errors.ts';
import {
  createJsonEndpoint,
  type JsonEndpointOptions,
} from '../../inference/providers/openai-compatible/json-endpoint.ts';
import { asObject, asObjects, type WireObject } from '../../inference/providers/openai-compatible/wire.ts';
import type { ModerationTarget } from '../../inference/registry.ts';

const TIMEOUT_MS = 10_000;

/** Creates a moderator behind an endpoint with OpenAI's moderations API. */
export function createEndpointModerator(
  target: Extract<ModerationTarget, { readonly model: string }>,
  options: Pick<JsonEndpointOptions, 'secret'>,
): Moderator {
  const endpoint = createJsonEndpoint(target, 'moderations', options);
  return {
    async moderate(inputs, signal) {
      const body = { model: target.model, input: encodeInputs(inputs) };
      const answer = await endpoint.post(body, 'results', AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]));
      const results = asObjects(answer['results']);
      if (results.length !== inputs.length) throw malformedError();
      return results.map(readResult);
    },
  };
}

/** Returns an array of texts, which get one result each, or the parts that get one together. */
function encodeInputs(inputs: readonly (readonly ModerationPart[])[]): unknown {
  const texts = inputs.map(([part, ...others]) =>
    part?.type === 'text' && others.length === 0 ? part.text : undefined,
  );
  if (!texts.includes(undefined)) return texts;
  return inputs
    .flat()
    .map((part) => (part.type === 'text' ? part : { type: 'image_url', image_url: { url: part.url } }));
}

/** Reads a result. An upstream may lack categories, but one without any has moderated nothing. */
function readResult(result: WireObject): Moderation {
  const categories = asObject(result['categories']);
  const scores = asObject(result['category_scores']);
  const types = asObject(result['category_applied_input_types']);
  if (typeof result['flagged'] !== 'boolean' || categories === undefined) throw malformedError();
  return {
    flagged: result['flagged'],
    categories: mapCategories((each) => categories[each] === true),
    scores: mapCategories((each) => readScore(scores?.[each])),
    inputTypes: mapCategories((each) => (types === undefined ? readTypes(categories, each) : readKinds(types[each]))),
  };
}

/** Older models report no types. All of their categories are those of texts. */
function readTypes(categories: WireObject, category: Category): 'text'[] {
  return typeof categories[category] === 'boolean' ? ['text'] : [];
}

function readKinds(kinds: unknown): ('text' | 'image')[] {
  return Array.isArray(kinds) ? kinds.filter((each) => each === 'text' || each === 'image') : [];
}

function readScore(score: unknown): number {
  return typeof score === 'number' ? score : 0;
}

function malformedError() {
  return malformedAnswerError('The upstream answered without a result for each input', 'nextTarget');
}
