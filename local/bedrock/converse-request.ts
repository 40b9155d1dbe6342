import * as v from 'valibot';
import { isRecord } from './rules/call.ts';

const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;
const name = v.pipe(v.string(), v.regex(TOOL_NAME, `must satisfy regular expression pattern: ${TOOL_NAME.source}`));
/** One blank at a time, hyphens, parentheses and square brackets. */
const DOCUMENT_NAME = /^(?!.*\s\s)[a-zA-Z0-9\s\-()[\]]{1,200}$/;

/** An object that is kept as it is. valibot's `record` drops members such as `constructor`. */
export const jsonObject = v.custom<Readonly<Record<string, unknown>>>(isRecord, 'must be an object');

const cachePoint = v.looseObject({ type: v.literal('default'), ttl: v.optional(v.picklist(['5m', '1h'])) });

const contentEntries = {
  text: v.optional(v.string()),
  image: v.optional(
    v.looseObject({ format: v.picklist(['png', 'jpeg', 'gif', 'webp']), source: v.looseObject({ bytes: v.string() }) }),
  ),
  document: v.optional(
    v.looseObject({
      format: v.optional(v.picklist(['pdf', 'csv', 'doc', 'docx', 'xls', 'xlsx', 'html', 'txt', 'md'])),
      name: v.pipe(
        v.string(),
        v.regex(DOCUMENT_NAME, `must satisfy regular expression pattern: ${DOCUMENT_NAME.source}`),
      ),
      source: v.looseObject({ bytes: v.optional(v.string()) }),
    }),
  ),
};

const resultBlock = v.looseObject(contentEntries);

const block = v.looseObject({
  ...contentEntries,
  toolUse: v.optional(v.looseObject({ toolUseId: name, name, input: jsonObject })),
  toolResult: v.optional(
    v.looseObject({ toolUseId: name, content: v.array(resultBlock), status: v.optional(v.string()) }),
  ),
  reasoningContent: v.optional(
    v.looseObject({
      reasoningText: v.optional(v.looseObject({ text: v.string(), signature: v.optional(v.string()) })),
      redactedContent: v.optional(v.string()),
    }),
  ),
  cachePoint: v.optional(cachePoint),
});

const tool = v.looseObject({
  toolSpec: v.optional(
    v.looseObject({
      name,
      description: v.optional(v.pipe(v.string(), v.minLength(1))),
      inputSchema: v.object({ json: v.looseObject({ type: v.literal('object') }) }),
      strict: v.optional(v.boolean()),
    }),
  ),
  cachePoint: v.optional(cachePoint),
});

const outputSchema = v.pipe(v.string(), v.check(isJsonObject, 'must be the JSON of an object'));

/** The shape of a Converse request's body, from Bedrock's API reference. */
export const converseRequest = v.looseObject({
  messages: v.pipe(
    v.array(v.looseObject({ role: v.picklist(['user', 'assistant']), content: v.array(block) })),
    v.minLength(1, 'A conversation must have at least one message.'),
  ),
  system: v.optional(v.array(block)),
  inferenceConfig: v.optional(
    v.looseObject({
      maxTokens: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
      temperature: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
      topP: v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
      stopSequences: v.optional(v.pipe(v.array(v.pipe(v.string(), v.minLength(1))), v.maxLength(2_500))),
    }),
  ),
  toolConfig: v.optional(
    v.looseObject({
      tools: v.pipe(v.array(tool), v.minLength(1)),
      toolChoice: v.optional(v.record(v.string(), v.unknown())),
    }),
  ),
  outputConfig: v.optional(
    v.looseObject({
      effort: v.optional(v.string()),
      textFormat: v.optional(
        v.looseObject({ structure: v.looseObject({ jsonSchema: v.looseObject({ schema: outputSchema }) }) }),
      ),
    }),
  ),
  serviceTier: v.optional(v.looseObject({ type: v.picklist(['priority', 'default', 'flex', 'reserved']) })),
  additionalModelRequestFields: v.optional(v.record(v.string(), v.unknown())),
});

/** The part of a Converse request's body that the stand-in reads. Images are base64 text. */
export type ConverseBody = v.InferOutput<typeof converseRequest>;

function isJsonObject(text: string): boolean {
  try {
    return isRecord(JSON.parse(text));
  } catch {
    return false;
  }
}
