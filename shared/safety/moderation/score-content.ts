import { LambentError } from '../../core/errors.ts';
import { mapInParallel } from '../../core/map-in-parallel.ts';
import type { GenerationRequest } from '../../inference/generation.ts';
import { type Moderation, type ModerationPart, type Moderator, mapCategories } from '../../inference/moderation.ts';
import { cutText } from '../guardrail/pack-texts.ts';
import { listRequestTexts } from '../request-texts.ts';

/** What is moderated together. */
export interface Content {
  readonly texts: readonly string[];
  readonly images: readonly Extract<ModerationPart, { type: 'image' }>[];
}

const MAX_CALLS_AT_ONCE = 4;

/**
 * Returns all texts and images of a request.
 * @throws LambentError `unsupported_value` if it has a PDF document
 */
export function listContent(request: GenerationRequest): Content {
  const parts = request.messages.flatMap(({ role, content }) =>
    role === 'user' || role === 'tool' ? content.filter((part) => part.type !== 'text') : [],
  );
  const images = parts.flatMap((part): Content['images'] => {
    if (part.type === 'image')
      return [{ type: 'image', url: 'url' in part ? part.url : `data:${part.mediaType};base64,${part.base64}` }];
    if ('text' in part) return [];
    const message = "Unsupported value: 'moderation': PDF documents can't be moderated.";
    throw new LambentError('unsupported_value', message, { param: 'moderation' });
  });
  return { texts: listRequestTexts(request).flat(), images };
}

/**
 * Returns one result for some content. A long text is moderated in pieces, and each image separately.
 * @throws LambentError as `Moderator.moderate`
 */
export async function scoreContent(
  moderator: Moderator,
  { texts, images }: Content,
  signal: AbortSignal,
): Promise<Moderation> {
  const pieces = cutTexts(texts).map((text): ModerationPart[] => [{ type: 'text', text }]);
  // An endpoint returns a result for each text of a list, but only one for a list of parts.
  const calls = [...(pieces.length === 0 ? [] : [pieces]), ...images.map((image) => [[image]])];
  const results = await mapInParallel(calls, MAX_CALLS_AT_ONCE, (inputs) => moderator.moderate(inputs, signal));
  return mergeModerations(results.flat());
}

/** Returns how many texts and images of a request are moderated. */
export function countContent(request: GenerationRequest): number {
  const images = request.messages
    .filter(({ role }) => role === 'user' || role === 'tool')
    .flatMap(({ content }) => content.filter(({ type }) => type === 'image'));
  return cutTexts(listRequestTexts(request).flat()).length + images.length;
}

function cutTexts(texts: readonly string[]): string[] {
  return cutText(texts.join('\n'));
}

/** Returns one result for several: a category's highest score. Without any, nothing is flagged. */
export function mergeModerations(results: readonly Moderation[]): Moderation {
  return {
    flagged: results.some(({ flagged }) => flagged),
    categories: mapCategories((each) => results.some(({ categories }) => categories[each])),
    scores: mapCategories((each) => Math.max(0, ...results.map(({ scores }) => scores[each]))),
    inputTypes: mapCategories((each) => [...new Set(results.flatMap(({ inputTypes }) => inputTypes[each]))]),
  };
}
