import { LambentError } from '../../core/errors.ts';
import { mapInParallel } from '../../core/map-in-parallel.ts';
import {
  type Category,
  type Moderation,
  type ModerationPart,
  type Moderator,
  mapCategories,
} from '../../inference/moderation.ts';
import type { Assessment, Guardrail } from '../guardrail/bedrock-guardrail.ts';

/** The category of each of Bedrock's content filters. Bedrock has no filters for the others, nor OpenAI one for attacks. */
const FILTERS: Readonly<Record<string, Category>> = {
  HATE: 'hate',
  INSULTS: 'harassment',
  SEXUAL: 'sexual',
  VIOLENCE: 'violence',
  MISCONDUCT: 'illicit',
};
const KNOWN: ReadonlySet<Category> = new Set(Object.values(FILTERS));

/** Bedrock reports levels of confidence. Each is represented by one score. */
const SCORES: Readonly<Record<string, number>> = { NONE: 0, LOW: 0.33, MEDIUM: 0.66, HIGH: 0.99 };

const TIMEOUT_MS = 10_000;
const MAX_CALLS_AT_ONCE = 4;

/** Creates a moderator that reads the content filters of a guardrail. It moderates texts only. */
export function createGuardrailModerator(guardrail: Guardrail): Moderator {
  return {
    moderate: (inputs, signal) =>
      mapInParallel(inputs, MAX_CALLS_AT_ONCE, async (parts) => {
        const texts = parts.map(readText);
        return toModeration(
          await guardrail.assess(texts, { source: 'INPUT', scope: 'FULL', timeoutMs: TIMEOUT_MS, signal }),
        );
      }),
  };
}

function readText(part: ModerationPart): string {
  if (part.type === 'text') return part.text;
  const message = "Unsupported value: 'input': this moderation model doesn't moderate images.";
  throw new LambentError('unsupported_value', message, { param: 'input' });
}

/** An intervention for another reason than a content filter, such as a denied topic, flags the input without a category. */
function toModeration({ intervened, filters }: Assessment): Moderation {
  const found = new Map<Category, { isDetected: boolean; score: number }>();
  for (const { type = '', confidence = '', detected, action } of filters) {
    const category = FILTERS[type];
    if (category === undefined) continue;
    const before = found.get(category);
    found.set(category, {
      isDetected: (before?.isDetected ?? false) || (detected ?? action === 'BLOCKED'),
      score: Math.max(before?.score ?? 0, SCORES[confidence] ?? 0),
    });
  }
  return {
    flagged: intervened || [...found.values()].some(({ isDetected }) => isDetected),
    categories: mapCategories((each) => found.get(each)?.isDetected ?? false),
    scores: mapCategories((each) => found.get(each)?.score ?? 0),
    inputTypes: mapCategories((each) => (KNOWN.has(each) ? ['text'] : [])),
  };
}
