/** The categories of OpenAI's moderation models. */
const CATEGORIES = [
  'harassment',
  'harassment/threatening',
  'hate',
  'hate/threatening',
  'illicit',
  'illicit/violent',
  'self-harm',
  'self-harm/instructions',
  'self-harm/intent',
  'sexual',
  'sexual/minors',
  'violence',
  'violence/graphic',
] as const;
export type Category = (typeof CATEGORIES)[number];

/** A part of what is moderated together. */
export type ModerationPart =
  | { readonly type: 'text'; readonly text: string }
  /** A data URL, or the URL of an allowed host. */
  | { readonly type: 'image'; readonly url: string };

export interface Moderation {
  readonly flagged: boolean;
  readonly categories: Readonly<Record<Category, boolean>>;
  /** 0 to 1. */
  readonly scores: Readonly<Record<Category, number>>;
  /** The kinds of input that the score of a category applies to. Empty for a category that the model doesn't know. */
  readonly inputTypes: Readonly<Record<Category, readonly ('text' | 'image')[]>>;
}

/** What a caller asks a moderation model to do with a request and its answer. */
export interface ModerationUse {
  /** The caller's name of the moderation model. */
  readonly model: string;
  /** `skip` leaves a side out. Callers can't ask for that. */
  readonly input: ModerationMode | 'skip';
  readonly output: ModerationMode | 'skip';
  /** The result for an input that was moderated before and is left out now. */
  readonly inputResult?: ModerationOutcome;
  /** True if the request is moderated, but sent to no model: the only event of its answer is `finish`, with the report. */
  readonly isAlone?: true;
}

/** `score` only reports the result, `block` also refuses what is flagged. */
export type ModerationMode = 'score' | 'block';

/** A result, or why there is none. */
export type ModerationOutcome = Moderation | ModerationFailure;

/** The results for a request and its answer. */
export interface ModerationReport extends Record<'input' | 'output', ModerationOutcome> {
  /** The caller's name of the moderation model. */
  readonly model: string;
}

/** Why there is no result. Callers see both fields. */
export interface ModerationFailure {
  readonly code: string;
  readonly message: string;
}

export interface Moderator {
  /**
   * Moderates inputs: each is a list of parts and gets one result.
   * @throws LambentError a failure of the model, or `unsupported_value` for an image that it can't moderate
   */
  moderate(inputs: readonly (readonly ModerationPart[])[], signal: AbortSignal): Promise<Moderation[]>;
}

/** Returns an object with a value for each category. */
export function mapCategories<T>(read: (category: Category) => T): Record<Category, T> {
  return Object.fromEntries(CATEGORIES.map((each) => [each, read(each)])) as Record<Category, T>;
}
