import type { Moderation } from '../../inference/moderation.ts';

/** OpenAI's `CreateModerationResponse`. */
export interface ModerationResponse {
  readonly id: string;
  readonly model: string;
  readonly results: readonly {
    readonly flagged: boolean;
    readonly categories: Moderation['categories'];
    readonly category_scores: Moderation['scores'];
    readonly category_applied_input_types: Moderation['inputTypes'];
  }[];
}

/**
 * Encodes the results of a moderation.
 * @param model the caller's name of the model
 */
export function encodeModerations(results: readonly Moderation[], id: string, model: string): ModerationResponse {
  return {
    id: `modr-${id}`,
    model,
    results: results.map(({ flagged, categories, scores, inputTypes }) => ({
      flagged,
      categories,
      category_scores: scores,
      category_applied_input_types: inputTypes,
    })),
  };
}
