import * as v from 'valibot';
import type { Frame, Responder } from '../../local/bedrock/frames.ts';
import { createMinimalInstance } from '../../local/bedrock/schema-instance.ts';

const structured = v.object({
  textFormat: v.object({ structure: v.object({ jsonSchema: v.object({ schema: v.string() }) }) }),
});

/**
 * Answers as a small deterministic model behind Bedrock's Converse API. Like the OpenAI-compatible upstream, it repeats
 * the last message, calls the first tool, repeats a tool's result, returns a schema's minimal instance or names an
 * image's format.
 */
export const converse: Responder = async function* ({ body }) {
  const last = body.messages?.at(-1)?.content ?? [];
  const result = last.find((block) => block.toolResult !== undefined)?.toolResult;
  const image = last.find((block) => block.image !== undefined)?.image;
  const schema = v.is(structured, body.outputConfig)
    ? body.outputConfig.textFormat.structure.jsonSchema.schema
    : undefined;
  const tool = body.toolConfig?.tools?.[0]?.toolSpec;
  const said = last.map(({ text }) => text ?? '').join('');

  if (result !== undefined)
    yield* speak(`The tool said: ${result.content?.[0]?.text ?? ''}`, body.inferenceConfig?.maxTokens);
  else if (tool !== undefined) yield* call(tool.name ?? '', createMinimalInstance(tool.inputSchema?.json));
  else if (schema !== undefined) yield* speak(JSON.stringify(createMinimalInstance(JSON.parse(schema))));
  else if (image !== undefined) yield* speak(`I see an image: ${image.format}`);
  else yield* speak(`You said: ${said}`, body.inferenceConfig?.maxTokens);
};

/** Yields the frames of an answer that says a text, word by word. */
export function* speak(text: string, maxTokens = Number.POSITIVE_INFINITY): Generator<Frame> {
  const words = text.split(/(?<= )/);
  yield { type: 'event', event: { messageStart: { role: 'assistant' } } };
  for (const word of words.slice(0, maxTokens)) {
    yield { type: 'event', event: { contentBlockDelta: { contentBlockIndex: 0, delta: { text: word } } } };
  }
  yield { type: 'event', event: { contentBlockStop: { contentBlockIndex: 0 } } };
  yield* end(words.length > maxTokens ? 'max_tokens' : 'end_turn');
}

/** Yields the frames of an answer that calls a tool. */
export function* call(name: string, argument: unknown): Generator<Frame> {
  const start = { toolUse: { toolUseId: 'tooluse_1', name } };
  yield { type: 'event', event: { messageStart: { role: 'assistant' } } };
  yield { type: 'event', event: { contentBlockStart: { contentBlockIndex: 0, start } } };
  for (const input of JSON.stringify(argument).match(/.{1,5}/g) ?? []) {
    yield { type: 'event', event: { contentBlockDelta: { contentBlockIndex: 0, delta: { toolUse: { input } } } } };
  }
  yield { type: 'event', event: { contentBlockStop: { contentBlockIndex: 0 } } };
  yield* end('tool_use');
}

function* end(stopReason: 'end_turn' | 'tool_use' | 'max_tokens'): Generator<Frame> {
  yield { type: 'event', event: { messageStop: { stopReason } } };
  const usage = { inputTokens: 11, outputTokens: 7, totalTokens: 18 };
  yield { type: 'event', event: { metadata: { usage, metrics: { latencyMs: 1 } } } };
}
