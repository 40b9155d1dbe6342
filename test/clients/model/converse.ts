import * as v from 'valibot';
import type { ConverseBody } from '../../../local/bedrock/converse-request.ts';
import type { Frame, Responder } from '../../../local/bedrock/frames.ts';
import { readModel } from '../../../local/bedrock/rules/models.ts';
import type { ModelAnswer } from '../../upstreams/chat-model.ts';
import { type Conversation, decide } from './decide.ts';

/** Answers as the scripted model behind Bedrock's Converse API. */
export const scriptedConverse: Responder = async function* ({ modelId, body }) {
  yield* speak(decide(toConversation(body)), {
    callCount: body.messages.flatMap(({ content }) => content.filter(({ toolUse }) => toolUse)).length,
    isSigned: readModel(modelId).family === 'claude',
    maxTokens: body.inferenceConfig?.maxTokens,
  });
};

const structured = v.object({
  textFormat: v.object({ structure: v.object({ jsonSchema: v.object({ schema: v.string() }) }) }),
});

const toolChoice = v.object({
  any: v.optional(v.unknown()),
  tool: v.optional(v.object({ name: v.string() })),
});

/** The models' own fields. With at most one call at a time, Claude's tool choice is there. */
const modelFields = v.object({
  tool_choice: v.optional(
    v.object({
      type: v.string(),
      name: v.optional(v.string()),
      disable_parallel_tool_use: v.optional(v.boolean(), false),
    }),
  ),
  thinking: v.optional(v.object({ type: v.string() })),
  reasoningConfig: v.optional(v.object({ type: v.string() })),
});

function toConversation({ messages, toolConfig, outputConfig, ...body }: ConverseBody): Conversation {
  const fields = v.parse(v.optional(modelFields, {}), body.additionalModelRequestFields);
  const own = fields.tool_choice;
  const choice = v.parse(v.optional(toolChoice, {}), toolConfig?.['toolChoice']);
  const instructions = (body.system ?? []).map(({ text = '' }) => text).join('\n');
  const thinking = fields.thinking ?? fields.reasoningConfig;
  return {
    messages: messages.flatMap(({ role, content }) => {
      const results = content.flatMap(({ toolResult }) => toolResult ?? []);
      const text = content.flatMap((block) => block.text ?? []).join('\n');
      return [
        ...results.map((result) => ({ role: 'tool', text: readResult(result.content) }) as const),
        ...(text === '' && results.length > 0 ? [] : [{ role, text }]),
      ];
    }),
    tools: (toolConfig?.tools ?? []).flatMap(({ toolSpec }) =>
      toolSpec ? [{ name: toolSpec.name, schema: toolSpec.inputSchema.json }] : [],
    ),
    toolChoice:
      own?.name ??
      choice.tool?.name ??
      (own?.type === 'any' || choice.any !== undefined ? 'any' : own?.type === 'none' ? 'none' : undefined) ??
      findAskedCall(instructions),
    schema: v.is(structured, outputConfig)
      ? JSON.parse(outputConfig.textFormat.structure.jsonSchema.schema)
      : undefined,
    instructions,
    isParallel: own?.disable_parallel_tool_use !== true,
    reasons: thinking !== undefined && thinking.type !== 'disabled',
  };
}

/** Returns the choice of a prompt, where it is for models that can't be forced to call a tool. */
function findAskedCall(instructions: string): string | undefined {
  const [asked, name] = /Answer with a call of (?:the tool ([\w-]+)|one of the tools)/.exec(instructions) ?? [];
  return name ?? (asked && 'any');
}

function readResult(content: readonly Readonly<Record<string, unknown>>[]): string {
  return content.map(({ text, json }) => (typeof text === 'string' ? text : JSON.stringify(json ?? ''))).join('\n');
}

interface Manner {
  /** Number of earlier calls: the ids of a conversation's calls differ. */
  readonly callCount: number;
  /** True if the model signs its reasoning. */
  readonly isSigned: boolean;
  readonly maxTokens: number | undefined;
}

/** Yields the frames of an answer: reasoning, then a text by words, or calls. */
function* speak(answer: ModelAnswer, { callCount, isSigned, maxTokens }: Manner): Generator<Frame> {
  const event = (content: Extract<Frame, { type: 'event' }>['event']): Frame => ({ type: 'event', event: content });
  yield event({ messageStart: { role: 'assistant' } });
  let index = 0;
  if (answer.reasoning !== undefined) {
    const pieces = [{ text: answer.reasoning }, ...(isSigned ? [{ signature: 'c2lnbmVk' }] : [])];
    for (const reasoningContent of pieces)
      yield event({ contentBlockDelta: { contentBlockIndex: index, delta: { reasoningContent } } });
    yield event({ contentBlockStop: { contentBlockIndex: index } });
    index += 1;
  }
  const words = 'text' in answer ? answer.text.split(/(?<= )/) : [];
  for (const text of words.slice(0, maxTokens))
    yield event({ contentBlockDelta: { contentBlockIndex: index, delta: { text } } });
  if (words.length > 0) yield event({ contentBlockStop: { contentBlockIndex: index } });
  for (const [number, call] of ('calls' in answer ? answer.calls : []).entries()) {
    const toolUse = { toolUseId: `tooluse_${callCount + number}`, name: call.name };
    yield event({ contentBlockStart: { contentBlockIndex: index, start: { toolUse } } });
    for (const input of JSON.stringify(call.arguments).match(/.{1,5}/gs) ?? [])
      yield event({ contentBlockDelta: { contentBlockIndex: index, delta: { toolUse: { input } } } });
    yield event({ contentBlockStop: { contentBlockIndex: index } });
    index += 1;
  }
  const isCut = words.length > (maxTokens ?? Number.POSITIVE_INFINITY);
  yield event({ messageStop: { stopReason: 'calls' in answer ? 'tool_use' : isCut ? 'max_tokens' : 'end_turn' } });
  yield event({
    metadata: { usage: { inputTokens: 11, outputTokens: 7, totalTokens: 18 }, metrics: { latencyMs: 1 } },
  });
}
