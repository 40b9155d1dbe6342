import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { isObject } from '../../../shared/core/objects.ts';
import { chatParameters, chatParts } from '../../../shared/openai/chat/schema.ts';
import { inputParts } from '../../../shared/openai/responses/items.ts';
import { responsesParameters } from '../../../shared/openai/responses/schema.ts';
import { toolParts } from '../../../shared/openai/responses/tools.ts';

const client = dirname(createRequire(import.meta.url).resolve('openai'));
const sources = {
  chat: readFileSync(join(client, 'resources/chat/completions/completions.d.ts'), 'utf8'),
  responses: readFileSync(join(client, 'resources/responses/responses.d.ts'), 'utf8'),
};

/** Returns the field names of an interface in the official client's declarations. */
function fieldsOf(source: keyof typeof sources, name: string): string[] {
  const declaration = new RegExp(`\\n( *)(?:export )?interface ${name} \\{\\n([\\s\\S]*?)\\n\\1\\}`).exec(
    sources[source],
  );
  if (declaration === null) throw new Error(`The client has no ${name}`);
  const [, indent = '', body = ''] = declaration;
  const fields = [...body.matchAll(new RegExp(`^${indent}    (\\w+)\\??:`, 'gm'))].map(([, field = '']) => field);
  if (fields.length === 0) throw new Error(`${name} has no fields`);
  return fields.sort();
}

/** Returns whether a schema has an entry for the field, so that it isn't dropped as unknown. */
function hasField(schema: v.GenericSchema, kind: Record<string, unknown>, field: string): boolean {
  const { output } = v.safeParse(schema, { ...kind, [field]: 0 });
  return isObject(output) && Object.hasOwn(output, field);
}

describe('request schemas', () => {
  it('the chat completion schema has exactly the parameters of the official client', () => {
    expect(Object.keys(chatParameters).sort()).toEqual(fieldsOf('chat', 'ChatCompletionCreateParamsBase'));
  });

  it('the response schema has exactly the parameters of the official client', () => {
    expect(Object.keys(responsesParameters).sort()).toEqual(fieldsOf('responses', 'ResponseCreateParamsBase'));
  });

  const parts: [source: keyof typeof sources, name: string, schema: v.GenericSchema, kind: Record<string, unknown>][] =
    [
      ['chat', 'ChatCompletionSystemMessageParam', chatParts.message, { role: 'system' }],
      ['chat', 'ChatCompletionDeveloperMessageParam', chatParts.message, { role: 'developer' }],
      ['chat', 'ChatCompletionUserMessageParam', chatParts.message, { role: 'user' }],
      ['chat', 'ChatCompletionAssistantMessageParam', chatParts.message, { role: 'assistant' }],
      ['chat', 'ChatCompletionMessage', chatParts.message, { role: 'assistant' }],
      ['chat', 'ChatCompletionToolMessageParam', chatParts.message, { role: 'tool' }],
      ['chat', 'ChatCompletionContentPartText', chatParts.textPart, {}],
      ['chat', 'ChatCompletionContentPartImage', chatParts.imagePart, {}],
      ['chat', 'ChatCompletionContentPartRefusal', chatParts.refusalPart, {}],
      ['chat', 'ChatCompletionMessageFunctionToolCall', chatParts.toolCall, {}],
      ['chat', 'ChatCompletionMessageCustomToolCall', chatParts.customToolCall, {}],
      ['chat', 'ChatCompletionCustomTool', chatParts.tool, { type: 'custom' }],
      ['chat', 'ChatCompletionFunctionTool', chatParts.tool, { type: 'function' }],
      ['chat', 'ChatCompletionStreamOptions', chatParameters.stream_options, {}],
      ['chat', 'PromptCacheOptions', chatParameters.prompt_cache_options, {}],
      ['responses', 'EasyInputMessage', inputParts.typedItem, { type: 'message', role: 'user' }],
      ['responses', 'ResponseOutputMessage', inputParts.typedItem, { type: 'message', role: 'assistant' }],
      ['responses', 'ResponseInputText', inputParts.inputText, {}],
      ['responses', 'ResponseInputImage', inputParts.inputImage, {}],
      ['responses', 'ResponseOutputText', inputParts.outputText, {}],
      ['responses', 'ResponseOutputRefusal', inputParts.refusal, {}],
      ['responses', 'ResponseFunctionToolCall', inputParts.functionCall, {}],
      ['responses', 'FunctionCallOutput', inputParts.functionCallOutput, {}],
      ['responses', 'ResponseReasoningItem', inputParts.reasoning, {}],
      ['responses', 'ResponseInputFile', inputParts.inputFile, {}],
      ['responses', 'ResponseCustomToolCall', inputParts.customToolCall, {}],
      ['responses', 'ResponseCustomToolCallOutput', inputParts.customToolCallOutput, {}],
      ['responses', 'ResponseToolSearchCall', inputParts.toolSearchCall, {}],
      ['responses', 'ResponseToolSearchOutputItem', inputParts.toolSearchOutput, {}],
      ['responses', 'AdditionalTools', inputParts.additionalTools, {}],
      ['responses', 'FunctionTool', toolParts.functionTool, {}],
      ['responses', 'CustomTool', toolParts.customTool, {}],
      ['responses', 'NamespaceTool', toolParts.namespaceTool, {}],
      ['responses', 'ToolSearchTool', toolParts.toolSearch, {}],
      ['responses', 'ResponseTextConfig', responsesParameters.text, {}],
      ['responses', 'StreamOptions', responsesParameters.stream_options, {}],
      ['responses', 'PromptCacheOptions', responsesParameters.prompt_cache_options, {}],
    ];
  it.each(parts)('the %s schemas have every field of the official client’s %s', (source, name, schema, kind) => {
    const missing = fieldsOf(source, name).filter((field) => !(field in kind) && !hasField(schema, kind, field));
    expect(missing).toEqual([]);
  });

  it('a field that the official client does not have is unknown to every schema', () => {
    for (const [, , schema, kind] of parts) expect(hasField(schema, kind, 'surprise')).toBe(false);
  });
});
