import * as v from 'valibot';
import { isObject } from '../core/objects.ts';
import { checkPattern } from './custom-pattern.ts';

const sides = v.optional(v.picklist(['input', 'output', 'both']));

/** Letters, digits, ., _ and -. Log lines and metrics name a rule by it. */
const ruleId = v.pipe(v.string(), v.regex(/^[\w.-]{1,64}$/, 'must be 1 to 64 letters, digits, ., _ or -'));

const term = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(200),
  v.check((text) => /[\p{L}\p{N}\p{P}\p{S}]/u.test(text), 'must have a visible character'),
);

const pattern = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(500),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const problem = findProblem(dataset.value);
    if (problem !== undefined) addIssue({ message: problem });
  }),
);

/** Returns what is wrong with a pattern; undefined for a valid one. */
function findProblem(text: string): string | undefined {
  try {
    checkPattern(text);
    return undefined;
  } catch (thrown) {
    return `is not valid: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
  }
}

const common = {
  id: ruleId,
  /** What is checked. Default: both. */
  on: sides,
  /** Whether a match refuses the request or ends the answer, or is only logged. Default: refuse. */
  action: v.optional(v.picklist(['refuse', 'flag'])),
};

const termRule = v.strictObject({
  ...common,
  terms: v.pipe(v.array(term), v.minLength(1), v.maxLength(200)),
  /** Longer terms within which `terms` may occur. */
  allow: v.optional(v.pipe(v.array(term), v.maxLength(200))),
  /** True if a term counts only where no letter or digit is next to it. Default: false. */
  wholeWords: v.optional(v.boolean()),
});

const patternRule = v.strictObject({
  ...common,
  pattern,
  /** Patterns of longer texts within which `pattern` may match. */
  allow: v.optional(v.pipe(v.array(pattern), v.maxLength(10))),
  /**
   * Characters of the longest match, from 1 to 1,000. An answer is held back by as many, and a longer match counts when so
   * many characters of it are seen. Default: 128.
   */
  maxLength: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000))),
});

/** The section `contentRules` of a policy. */
export const contentRulesSchema = v.pipe(
  v.array(v.lazy((rule) => (isObject(rule) && 'pattern' in rule ? patternRule : termRule))),
  v.maxLength(20),
  v.check((rules) => new Set(rules.map(({ id }) => id)).size === rules.length, 'must not have two rules with one id'),
);

/** A name under `guardrails` of `models.json`. */
export const guardrailName = v.pipe(v.string(), v.minLength(1), v.maxLength(200));

/** The section `guardrail` of a policy. */
export const guardrailSchema = v.strictObject({
  name: guardrailName,
  /** What is checked. Default: both. */
  on: sides,
  /** What happens if the guardrail doesn't answer in time. Default: refuse. */
  onFailure: v.optional(v.picklist(['refuse', 'pass'])),
  /** Milliseconds within which it must answer. Default: 5,000. */
  timeoutMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(100), v.maxValue(30_000))),
  /** Characters of an answer that are collected before they are checked. Default: 1,000. */
  windowCharacters: v.optional(v.pipe(v.number(), v.integer(), v.minValue(50), v.maxValue(10_000))),
  /** Characters of a window that the next one contains again, so that a match across both is seen. Default: 200. */
  overlapCharacters: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(5_000))),
});

export type TermRule = v.InferOutput<typeof termRule>;
export type PatternRule = v.InferOutput<typeof patternRule>;
export type ContentRule = TermRule | PatternRule;
export type GuardrailUse = v.InferOutput<typeof guardrailSchema>;
