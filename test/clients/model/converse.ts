import * as v from 'valibot';
import type { ConverseBody } from '../../../local/bedrock/converse-request.ts';
import type { Responder } from '../../../local/bedrock/frames.ts';
import { call, speak } from '../../end-to-end/converse.ts';
import { type Conversation, decide } from './decide.ts';

/** Answers as the scripted model behind Bedrock's Converse API. */
export const scriptedConverse: Responder = async function* ({ body }) {
  const answer = decide(toConversation(body));
  if ('call' in answer) yield* call(answer.call.name, answer.call.arguments);
  else yield* speak(answer.text, body.inferenceConfig?.maxTokens);
};

const structured = v.object({
  textFormat: v.object({ structure: v.object({ jsonSchema: v.object({ schema: v.string() }) }) }),
});

const toolChoice = v.object({
  any: v.optional(v.unknown()),
  tool: v.optional(v.object({ name: v.string() })),
});

/** A Claude model's own fields. With at most one call at a time, the tool choice is there. */
const modelFields = v.object({ tool_choice: v.object({ type: v.string(), name: v.optional(v.string()) }) });

function toConversation(body: ConverseBody): Conversation {
  const { messages, toolConfig, outputConfig, additionalModelRequestFields: fields } = body;
  const own = v.is(modelFields, fields) ? fields.tool_choice : undefined;
  const choice = v.parse(v.optional(toolChoice, {}), toolConfig?.['toolChoice']);
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
    toolChoice: own?.name ?? choice.tool?.name ?? (own?.type === 'any' || choice.any !== undefined ? 'any' : undefined),
    schema: v.is(structured, outputConfig)
      ? JSON.parse(outputConfig.textFormat.structure.jsonSchema.schema)
      : undefined,
  };
}

function readResult(content: readonly Readonly<Record<string, unknown>>[]): string {
  return content.map(({ text, json }) => (typeof text === 'string' ? text : JSON.stringify(json ?? ''))).join('\n');
}
