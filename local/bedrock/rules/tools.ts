import { isRecord, listTools, type ModelCall } from './call.ts';
import { findTurn } from './conversation.ts';
import { claude, either, everyModel, matching, of } from './models.ts';
import { CLAUDE, FEATURES, GUIDE, REFERENCE, type Rule } from './rule.ts';

const CHOICES = `${REFERENCE}/API_runtime_ToolChoice.html`;

/** How tools are declared, called and answered. */
export const TOOL_RULES: readonly Rule[] = [
  {
    name: 'tool-support',
    source: FEATURES,
    appliesTo: either(
      of('titan'),
      claude({ to: 299 }),
      matching(
        /llama2|llama3-(?:8|70)b|llama3-2-[13]b|mistral-7b|mixtral|deepseek\.r1|command-(?:light-)?text|jamba-instruct|ai21\.j2/,
      ),
    ),
    check: ({ tools }) => (tools ? "This model doesn't support tool use." : undefined),
  },
  {
    name: 'streamed-tools',
    source: FEATURES,
    appliesTo: of('llama', 'mistral', 'writer'),
    check: ({ tools, streamed }) =>
      tools && streamed ? "This model doesn't support tool use in streaming mode." : undefined,
  },
  {
    name: 'undeclared-tools',
    source: 'https://github.com/langgenius/dify/issues/16421',
    appliesTo: everyModel,
    check: ({ tools, turns }) =>
      tools === undefined && turns.some(({ blocks }) => blocks.some(({ type }) => /^tool/.test(type)))
        ? 'The toolConfig field must be defined when using toolUse and toolResult content blocks.'
        : undefined,
  },
  {
    name: 'tool-names',
    source: `${CLAUDE}/agents-and-tools/tool-use/implement-tool-use`,
    appliesTo: everyModel,
    check: (call) => {
      const repeated = findRepeated(listTools(call).map(({ name }) => name));
      return repeated === undefined ? undefined : `Tool names must be unique: ${repeated} is declared twice.`;
    },
  },
  {
    name: 'tool-results',
    source: `${GUIDE}/tool-use-inference-call.html`,
    appliesTo: everyModel,
    check: ({ turns }) =>
      findTurn(turns, (_turn, index) => {
        const called = listCalls(turns[index - 1]);
        const answered = listAnswers(turns[index]);
        if (answered.some((id) => !called.includes(id))) {
          return `The number of toolResult blocks at messages.${index}.content exceeds the number of toolUse blocks of previous turn.`;
        }
        const missing = called.filter((id) => !answered.includes(id));
        return missing.length > 0
          ? `Expected toolResult blocks at messages.${index}.content for the following Ids: ${missing.join(', ')}`
          : undefined;
      }) ??
      (listCalls(turns.at(-1)).length > 0
        ? `Expected toolResult blocks at messages.${turns.length}.content for the toolUse blocks of the last message`
        : undefined),
  },
  {
    name: 'claude-tool-results-first',
    source: `${CLAUDE}/agents-and-tools/tool-use/implement-tool-use#handling-results-from-client-tools`,
    appliesTo: claude(),
    check: ({ turns }) =>
      findTurn(turns, ({ blocks }, index) => {
        const others = blocks.findIndex(({ type }) => type !== 'toolResult' && type !== 'cachePoint');
        return others !== -1 && blocks.slice(others).some(({ type }) => type === 'toolResult')
          ? `messages.${index}: tool_use ids were found without tool_result blocks immediately after`
          : undefined;
      }),
  },
  {
    name: 'repeated-ids-in-a-message',
    source: 'https://github.com/bvcyber/Cyber-AutoAgent-ng/issues/72',
    appliesTo: everyModel,
    check: ({ turns }) =>
      findTurn(turns, (turn, index) => {
        const repeated = findRepeated(listCalls(turn)) ?? findRepeated(listAnswers(turn));
        return repeated === undefined ? undefined : `The blocks at messages.${index}.content repeat the id ${repeated}`;
      }),
  },
  {
    name: 'claude-repeated-ids',
    source: 'https://github.com/BerriAI/litellm/issues/23510',
    appliesTo: claude(),
    check: ({ turns }) => {
      const repeated = findRepeated(turns.flatMap(listCalls));
      return repeated === undefined ? undefined : `messages: the tool_use id ${repeated} is not unique`;
    },
  },
  {
    name: 'mistral-ids',
    source: 'https://github.com/vercel/ai/blob/main/packages/amazon-bedrock/src/normalize-tool-call-id.ts',
    appliesTo: of('mistral'),
    check: ({ turns }) => {
      const wrong = turns
        .flatMap((turn) => [...listCalls(turn), ...listAnswers(turn)])
        .find((id) => !/^[a-zA-Z0-9]{9}$/.test(id));
      return wrong === undefined ? undefined : `The tool call id ${wrong} is not nine letters or digits`;
    },
  },
  {
    name: 'chosen-tool',
    source: `${REFERENCE}/API_runtime_SpecificToolChoice.html`,
    appliesTo: everyModel,
    check: (call) =>
      call.toolChoice?.type === 'tool' && !listTools(call).some(({ name }) => name === call.toolChoice?.name)
        ? `toolChoice names the tool ${call.toolChoice.name}, which is not declared`
        : undefined,
  },
  {
    name: 'tool-choice-any',
    source: CHOICES,
    appliesTo: (model) =>
      model.family !== 'unknown' &&
      !either(of('claude', 'nova', 'kimi', 'glm'), matching(/mistral-large|deepseek\.v3/))(model),
    check: ({ toolChoice }) => (toolChoice?.type === 'any' ? describeChoice('any') : undefined),
  },
  {
    name: 'tool-choice-tool',
    source: CHOICES,
    appliesTo: (model) =>
      model.family !== 'unknown' &&
      !either(of('claude', 'nova', 'kimi', 'glm'), matching(/deepseek\.v3(?!-v1)/))(model),
    check: ({ toolChoice }) => (toolChoice?.type === 'tool' ? describeChoice('tool') : undefined),
  },
  {
    name: 'tool-choice-auto',
    source:
      'https://github.com/langchain-ai/langchain-aws/blob/main/libs/aws/langchain_aws/chat_models/bedrock_converse.py',
    appliesTo: of('qwen', 'gpt-oss', 'cohere', 'ai21', 'writer', 'deepseek'),
    check: ({ toolChoice }) => (toolChoice?.type === 'auto' ? describeChoice('auto') : undefined),
  },
  {
    name: 'claude-forced-tool',
    source: `${CLAUDE}/agents-and-tools/tool-use/implement-tool-use#forcing-tool-use`,
    appliesTo: matching(/claude-(?:fable|mythos)/),
    check: (call) => (isForced(call) ? 'tool_choice forces tool use, which this model does not support.' : undefined),
  },
  {
    name: 'claude-forced-tool-while-thinking',
    source: `${CLAUDE}/build-with-claude/extended-thinking#extended-thinking-with-tool-use`,
    appliesTo: claude({ to: 407 }),
    check: (call) =>
      isForced(call) && call.thinking && call.thinking.type !== 'disabled'
        ? 'Thinking may not be enabled when tool_choice forces tool use.'
        : undefined,
  },
  {
    name: 'claude-top-level-schema',
    source: 'https://github.com/trycua/cua/issues/3303',
    appliesTo: claude(),
    check: (call) => {
      const index = listTools(call).findIndex(({ schema }) => ['anyOf', 'oneOf', 'allOf'].some((key) => key in schema));
      return index === -1
        ? undefined
        : `tools.${index}.custom.input_schema: no oneOf, allOf or anyOf is supported at the top level`;
    },
  },
  {
    name: 'claude-property-names',
    source: 'https://github.com/diegosouzapw/OmniRoute/issues/13552',
    appliesTo: claude(),
    check: (call) => {
      const index = listTools(call).findIndex(
        ({ schema: { properties } }) =>
          isRecord(properties) && Object.keys(properties).some((name) => !/^[a-zA-Z0-9_.-]{1,64}$/.test(name)),
      );
      return index === -1 ? undefined : `tools.${index}.custom.input_schema.properties: a name has other characters`;
    },
  },
];

function describeChoice(choice: string): string {
  return `This model doesn't support the toolConfig.toolChoice.${choice} field. Remove it and try again.`;
}

function isForced({ toolChoice }: ModelCall): boolean {
  return toolChoice?.type === 'any' || toolChoice?.type === 'tool';
}

function listCalls(turn: ModelCall['turns'][number] | undefined): string[] {
  return (turn?.blocks ?? []).flatMap((block) => (block.type === 'toolUse' ? [block.id] : []));
}

function listAnswers(turn: ModelCall['turns'][number] | undefined): string[] {
  return (turn?.blocks ?? []).flatMap((block) => (block.type === 'toolResult' ? [block.id] : []));
}

function findRepeated(values: readonly string[]): string | undefined {
  return values.find((value, index) => values.indexOf(value) !== index);
}
