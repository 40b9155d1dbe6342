/** A model as the rules see it. Read from its id by code of the stand-in's own, so that it doesn't share Lambent's errors. */
export interface Model {
  readonly id: string;
  readonly family: Family;
  /** Claude: major × 100 + minor, 406 for 4.6. 0 for other families and for Claude before 3. */
  readonly version: number;
}

export type Family = (typeof FAMILIES)[number][0] | 'unknown';

/** Which models a rule applies to. */
export type ModelTest = (model: Model) => boolean;

const FAMILIES = [
  ['claude', /anthropic\.claude/],
  ['nova', /amazon\.nova/],
  ['titan', /amazon\.titan/],
  ['llama', /meta\.llama/],
  ['mistral', /mistral\./],
  ['cohere', /cohere\./],
  ['deepseek', /deepseek\./],
  ['qwen', /qwen\./],
  ['gpt-oss', /openai\.gpt-oss/],
  ['ai21', /ai21\./],
  ['writer', /writer\./],
  ['kimi', /moonshot(?:ai)?\./],
  ['glm', /zai\./],
  ['minimax', /minimax\./],
  ['gemma', /google\.gemma/],
] as const;

/** Describes the model with this id, inference profile id or ARN. */
export function readModel(id: string): Model {
  const family = FAMILIES.find(([, pattern]) => pattern.test(id))?.[0] ?? 'unknown';
  return { id, family, version: family === 'claude' ? readClaudeVersion(id) : 0 };
}

/** `claude-3-5-sonnet-…` is 305, `claude-opus-4-20250514-…` 400, `claude-fable-5-1` 501. */
function readClaudeVersion(id: string): number {
  const numbers = id
    .slice(id.indexOf('claude-'))
    .split(/[-:]/)
    .filter((part) => /^\d{1,2}$/.test(part));
  return /claude-v?2|claude-instant/.test(id) ? 0 : Number(numbers[0] ?? 4) * 100 + Number(numbers[1] ?? 0);
}

export const everyModel: ModelTest = () => true;

/** Models of these families. */
export function of(...families: readonly Family[]): ModelTest {
  return ({ family }) => families.includes(family);
}

/** Models whose ids match. */
export function matching(pattern: RegExp): ModelTest {
  return ({ id }) => pattern.test(id);
}

/** Claude from one version to another, both included. */
export function claude({ from = 0, to = Number.POSITIVE_INFINITY } = {}): ModelTest {
  return ({ family, version }) => family === 'claude' && version >= from && version <= to;
}

export function either(...tests: readonly ModelTest[]): ModelTest {
  return (model) => tests.some((test) => test(model));
}
