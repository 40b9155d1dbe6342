import type { Capability } from '../../capabilities.ts';
import type { BedrockTarget } from '../../registry.ts';

/** What of Converse a family of models understands, as far as its model id tells. */
export interface BedrockFamily {
  readonly name: 'claude' | 'nova' | 'openai' | 'other';
  readonly images: boolean;
  readonly tools: boolean;
  /** Whether `toolChoice` may name a tool; else the model can only be offered tools. */
  readonly forcedTools: boolean;
  /** Whether `outputConfig.textFormat` and `toolSpec.strict` are enforced. */
  readonly structuredOutput: boolean;
  readonly stop: boolean;
  /** The sampling parameters are fixed: anything but the default of `temperature` and `topP` is refused upstream. */
  readonly fixedSampling: boolean;
  /** Whether the tools may end in a cache point; Nova takes those in the system prompt and the messages only. */
  readonly cachesTools: boolean;
  readonly reasoning: ReasoningStyle | undefined;
}

/** The registry's `reasoning`, or what stands for it when the operator didn't say. */
export type ReasoningStyle = NonNullable<BedrockTarget['reasoning']>;

const BUDGETS = { low: 1_024, medium: 4_096, high: 16_384 } as const;

/**
 * Tells a model's family from its id, its inference-profile id or its ARN. An application inference profile's ARN says
 * nothing of its model: such a target is `other`, and its `capabilities` and `reasoning` belong in the registry.
 *
 * Source: the "supported models" tables of the Bedrock User Guide (Converse, structured outputs, adaptive thinking,
 * prompt caching), November 2026.
 */
export function detectFamily(model: string): BedrockFamily {
  if (model.includes('anthropic.claude')) return describeClaude(model);
  if (model.includes('amazon.nova')) return describeNova(model);
  if (model.includes('openai.')) return describeOpenAI(model);
  return describeOther(model);
}

/**
 * What a Bedrock target can be asked for when its registry entry doesn't say.
 * @param target its `capabilities`, when present, win
 */
export function getBedrockCapabilities(target: BedrockTarget): ReadonlySet<Capability> {
  if (target.capabilities) return new Set(target.capabilities);
  const family = detectFamily(target.model);
  const can = new Set<Capability>();
  if (family.images) can.add('images');
  if (family.stop) can.add('stop');
  if (family.tools) can.add('tools');
  if (family.structuredOutput) {
    can.add('strictTools').add('jsonSchema').add('strictJsonSchema');
    // Claude's grammar wants every object closed, so "any object" goes through a forced tool there instead.
    if (family.name !== 'claude') can.add('json');
  }
  if (family.tools && family.forcedTools) can.add('json').add('jsonSchema');
  if (family.name === 'claude' && family.tools) can.add('singleToolCall');
  if (target.reasoning ?? family.reasoning) can.add('reasoning');
  return can;
}

/** Claude's version as major × 100 + minor (4.6 is 406), 0 for what came before 3. */
export function parseClaudeVersion(model: string): number {
  if (/claude-(mythos-preview)/.test(model)) return 407;
  // A date follows without a minor version in `claude-opus-4-20250514`: a minor has two digits at most.
  const since4 = /claude-(?:opus|sonnet|haiku|fable|mythos)-(\d{1,2})(?:-(\d{1,2}))?(?!\d)/.exec(model);
  if (since4) return Number(since4[1]) * 100 + Number(since4[2] ?? 0);
  const until3 = /claude-(3)(?:-(\d))?-(?:opus|sonnet|haiku)/.exec(model);
  return until3 ? 300 + Number(until3[2] ?? 0) : 0;
}

function describeClaude(model: string): BedrockFamily {
  const version = parseClaudeVersion(model);
  return {
    name: 'claude',
    images: version >= 300 && !model.includes('claude-3-5-haiku'),
    tools: version >= 300,
    forcedTools: version >= 300,
    structuredOutput: version >= 405,
    stop: true,
    fixedSampling: version >= 407,
    cachesTools: true,
    reasoning: chooseClaudeReasoning(version),
  };
}

function chooseClaudeReasoning(version: number): ReasoningStyle | undefined {
  if (version >= 406) return { style: 'anthropic-adaptive' };
  return version >= 307 ? { style: 'anthropic-budget', budgets: { ...BUDGETS } } : undefined;
}

function describeNova(model: string): BedrockFamily {
  return {
    name: 'nova',
    images: !model.includes('nova-micro'),
    tools: true,
    forcedTools: true,
    structuredOutput: false,
    stop: true,
    fixedSampling: false,
    cachesTools: false,
    reasoning: model.includes('nova-2') ? { style: 'nova-effort' } : undefined,
  };
}

function describeOpenAI(model: string): BedrockFamily {
  return {
    name: 'openai',
    images: !model.includes('gpt-oss'),
    tools: true,
    forcedTools: false,
    structuredOutput: true,
    // "This model doesn't support the stopSequences field."
    stop: false,
    fixedSampling: !model.includes('gpt-oss'),
    cachesTools: false,
    reasoning: { style: 'openai-effort' },
  };
}

function describeOther(model: string): BedrockFamily {
  return {
    name: 'other',
    images: /llama3-2-(11|90)b|llama4|pixtral|mistral-large-3|ministral|gemma-3|qwen3-vl|kimi-k2-5/.test(model),
    tools:
      /llama3-[123]|llama4|mistral-large|mistral-small|ministral|pixtral|command-r|qwen3|kimi|minimax|glm|deepseek\.v3|nemotron|jamba-1-5|writer\.palmyra/.test(
        model,
      ),
    forcedTools: false,
    structuredOutput: /qwen3|kimi|minimax|gemma-3|nemotron|deepseek\.v3|ministral|mistral-large-3|glm/.test(model),
    stop: true,
    fixedSampling: false,
    cachesTools: false,
    reasoning: undefined,
  };
}
