import { isRecord } from './call.ts';
import { claude, everyModel, matching, of } from './models.ts';
import { CLAUDE, GUIDE, type Rule } from './rule.ts';

const CLAUDE_PARAMETERS = `${GUIDE}/model-parameters-anthropic-claude-messages-request-response.html`;
const THINKING = `${CLAUDE}/build-with-claude/extended-thinking`;
const NOVA_THINKING = 'https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html';

/** The largest `maxTokens` of models, and the documentation that states it. The first pattern that matches counts. */
export const OUTPUT_LIMITS: readonly (readonly [model: RegExp, tokens: number, source: string])[] = [
  [/claude-3-(?:opus|sonnet|haiku)/, 4_096, `${CLAUDE}/about-claude/models/overview`],
  [/claude-3-5/, 8_192, `${CLAUDE}/about-claude/models/overview`],
  [/claude-3-7/, 131_072, `${GUIDE}/claude-messages-extended-thinking.html`],
  [/claude-opus-4(?:-1)?-2\d{7}/, 32_000, `${CLAUDE}/about-claude/models/overview`],
  [
    /claude-sonnet-4-2\d{7}|claude-(?:opus|sonnet|haiku)-4-5|claude-sonnet-4-6/,
    64_000,
    `${CLAUDE}/about-claude/models/overview`,
  ],
  [/claude-(?:opus|sonnet|fable|mythos)/, 128_000, `${CLAUDE}/about-claude/models/overview`],
  [
    /nova-(?:micro|lite|pro|premier)/,
    10_000,
    'https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html',
  ],
  [/nova-2/, 65_535, 'https://docs.aws.amazon.com/nova/latest/nova2-userguide/what-is-nova-2.html'],
  [/titan-text-premier/, 3_000, 'https://github.com/aws-samples/generative-ai-use-cases/issues/594'],
];

/** Limits, sampling parameters, stop sequences and thinking. */
export const SAMPLING_RULES: readonly Rule[] = [
  {
    name: 'output-limit',
    source: 'https://github.com/vercel/ai/issues/2772',
    appliesTo: everyModel,
    check: ({ model, maxTokens = 0 }) => {
      const limit = OUTPUT_LIMITS.find(([pattern]) => pattern.test(model.id))?.[1] ?? Number.POSITIVE_INFINITY;
      return maxTokens > limit
        ? `The maximum tokens you requested exceeds the model limit of ${limit}. Try again with a lower value.`
        : undefined;
    },
  },
  {
    name: 'claude-temperature-with-top-p',
    source: CLAUDE_PARAMETERS,
    appliesTo: claude({ from: 401, to: 406 }),
    check: ({ temperature, topP }) =>
      temperature !== undefined && topP !== undefined
        ? 'Only one of `temperature` and `top_p` can be specified for this model.'
        : undefined,
  },
  {
    name: 'claude-fixed-sampling',
    source: `${CLAUDE}/about-claude/models/migration-guide`,
    appliesTo: claude({ from: 407 }),
    check: ({ temperature, topP, topK }) =>
      (temperature ?? topP ?? topK) === undefined
        ? undefined
        : '`temperature`, `top_p` and `top_k` are not supported by this model.',
  },
  {
    name: 'claude-sampling-while-thinking',
    source: `${THINKING}#feature-compatibility`,
    appliesTo: claude({ to: 406 }),
    check: ({ thinking, temperature = 1, topP = 1, topK }) =>
      thinking && thinking.type !== 'disabled' && (temperature !== 1 || topP < 0.95 || topK !== undefined)
        ? '`temperature` may only be 1, `top_p` 0.95 to 1 and `top_k` unset while thinking is enabled.'
        : undefined,
  },
  {
    name: 'claude-openai-fields',
    source: CLAUDE_PARAMETERS,
    appliesTo: claude(),
    check: ({ fields }) => {
      const extra = ['seed', 'frequency_penalty', 'presence_penalty', 'logit_bias', 'reasoning_effort'].find(
        (name) => name in fields,
      );
      return extra === undefined ? undefined : `Malformed input request: extraneous key [${extra}] is not permitted`;
    },
  },
  {
    name: 'cohere-top-p',
    source: `${GUIDE}/model-parameters-cohere-command-r-plus.html`,
    appliesTo: of('cohere'),
    check: ({ topP }) => (topP !== undefined && (topP < 0.01 || topP > 0.99) ? 'p must be 0.01 to 0.99' : undefined),
  },
  {
    name: 'stop-support',
    source: 'https://github.com/langgenius/dify-official-plugins/issues/1767',
    appliesTo: of('qwen', 'gpt-oss'),
    check: ({ stop }) =>
      stop.length > 0 ? "This model doesn't support the stopSequences field. Remove it and try again." : undefined,
  },
  {
    name: 'stop-count',
    source: 'https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html',
    appliesTo: of('nova', 'cohere'),
    check: ({ stop }) => (stop.length > 4 ? 'At most 4 stop sequences are accepted.' : undefined),
  },
  {
    name: 'claude-blank-stop',
    source: 'https://github.com/BerriAI/litellm/issues/3286',
    appliesTo: claude(),
    check: ({ stop }) =>
      stop.some((text) => text.trim() === '')
        ? 'stop_sequences: a stop sequence must not be white space alone'
        : undefined,
  },
  {
    name: 'claude-thinking-budget',
    source: `${THINKING}#max-tokens-and-context-window-size-with-extended-thinking`,
    appliesTo: claude(),
    check: ({ thinking, maxTokens = 4_096 }) => {
      if (thinking?.type !== 'enabled') return undefined;
      const budget = thinking.budgetTokens ?? 0;
      if (budget < 1_024) return 'thinking.budget_tokens must be at least 1024';
      return budget >= maxTokens ? '`max_tokens` must be greater than `thinking.budget_tokens`' : undefined;
    },
  },
  {
    name: 'claude-thinking-style',
    source: `${CLAUDE}/build-with-claude/adaptive-thinking`,
    appliesTo: claude(),
    check: ({ model, thinking }) => {
      if (thinking?.type === 'adaptive' && model.version < 406) return 'This model has no adaptive thinking';
      if (thinking?.type === 'enabled' && model.version < 307) return 'This model does not think';
      return thinking?.type === 'enabled' && model.version >= 407
        ? 'thinking.type "enabled" is not supported by this model. Use "adaptive".'
        : undefined;
    },
  },
  {
    name: 'claude-thinking-always',
    source: `${CLAUDE}/build-with-claude/adaptive-thinking`,
    appliesTo: matching(/claude-(?:fable|mythos)/),
    check: ({ thinking }) => (thinking?.type === 'disabled' ? 'This model always thinks.' : undefined),
  },
  {
    name: 'claude-effort',
    source: `${CLAUDE}/build-with-claude/effort`,
    appliesTo: claude(),
    check: ({ model, effort, thinking }) => {
      if (effort === undefined) return undefined;
      const levels = [
        'low',
        'medium',
        'high',
        ...(model.version >= 406 ? ['max'] : []),
        ...(model.version >= 407 ? ['xhigh'] : []),
      ];
      if (model.version < 405 || !levels.includes(effort)) return `output_config.effort: ${effort} is not supported`;
      return model.version >= 500 && thinking?.type === 'disabled' && (effort === 'xhigh' || effort === 'max')
        ? `output_config.effort: ${effort} needs thinking`
        : undefined;
    },
  },
  {
    name: 'gpt-oss-effort',
    source: `${GUIDE}/model-parameters-openai.html`,
    appliesTo: of('gpt-oss'),
    check: ({ fields: { reasoning_effort: effort } }) =>
      effort === undefined || effort === 'low' || effort === 'medium' || effort === 'high'
        ? undefined
        : `reasoning_effort: ${effort} is not supported`,
  },
  {
    name: 'nova-high-effort',
    source: NOVA_THINKING,
    appliesTo: matching(/nova-2/),
    check: ({ fields: { reasoningConfig: config }, maxTokens, temperature, topP }) =>
      isRecord(config) && config['maxReasoningEffort'] === 'high' && (maxTokens ?? temperature ?? topP) !== undefined
        ? 'maxTokens, temperature and topP must be unset while maxReasoningEffort is high'
        : undefined,
  },
];
