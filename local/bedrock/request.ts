import * as v from 'valibot';

const TOOL_NAME = /^[a-zA-Z0-9_-]{1,64}$/;
const name = v.pipe(v.string(), v.regex(TOOL_NAME, `must satisfy regular expression pattern: ${TOOL_NAME.source}`));

const block = v.looseObject({
  text: v.optional(v.string()),
  image: v.optional(
    v.looseObject({ format: v.picklist(['png', 'jpeg', 'gif', 'webp']), source: v.looseObject({ bytes: v.string() }) }),
  ),
  toolUse: v.optional(v.looseObject({ toolUseId: name, name, input: v.record(v.string(), v.unknown()) })),
  toolResult: v.optional(v.looseObject({ toolUseId: name, content: v.array(v.looseObject({})) })),
  reasoningContent: v.optional(v.looseObject({})),
  cachePoint: v.optional(v.looseObject({ type: v.literal('default') })),
});

const tool = v.looseObject({
  toolSpec: v.optional(
    v.looseObject({
      name,
      description: v.optional(v.pipe(v.string(), v.minLength(1))),
      inputSchema: v.object({ json: v.looseObject({ type: v.literal('object') }) }),
    }),
  ),
});

const converseRequest = v.looseObject({
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
      stopSequences: v.optional(v.array(v.string())),
    }),
  ),
  toolConfig: v.optional(v.looseObject({ tools: v.pipe(v.array(tool), v.minLength(1)) })),
});

/** The part of a Converse request's body that the stand-in reads. Images are base64 text. */
export type ConverseBody = v.InferOutput<typeof converseRequest>;

/**
 * Validates a request's body by the rules of Bedrock that Lambent could break.
 * @returns the body, or the text of the ValidationException
 */
export function validateRequest(json: unknown): ConverseBody | string {
  const result = v.safeParse(converseRequest, json);
  if (!result.success) {
    const [issue] = result.issues;
    return `Value at '${v.getDotPath(issue) ?? 'body'}' failed to satisfy constraint: ${issue.message}`;
  }
  return (
    findTurnError(result.output) ??
    findEmptyContentError(result.output) ??
    findToolError(result.output) ??
    result.output
  );
}

function findTurnError({ messages }: ConverseBody): string | undefined {
  if (messages[0]?.role !== 'user') {
    return 'A conversation must start with a user message. Try again with a conversation that starts with a user message.';
  }
  const repeated = messages.findIndex(({ role }, index) => index > 0 && messages[index - 1]?.role === role);
  if (repeated === -1) return undefined;
  return `messages: roles must alternate between "user" and "assistant", but found multiple "${messages[repeated]?.role}" roles in a row at messages.${repeated}`;
}

function findEmptyContentError({ messages, system = [] }: ConverseBody): string | undefined {
  const places = [{ path: 'system', content: system }].concat(
    messages.map(({ content }, index) => ({ path: `messages.${index}.content`, content })),
  );
  for (const { path, content } of places) {
    if (content.length === 0 && path !== 'system') {
      return `The content field in the Message object at ${path.replace('.content', '')} is empty. Add a ContentBlock object to the content field and try again.`;
    }
    const blank = content.findIndex(({ text }) => text !== undefined && text.trim() === '');
    if (blank >= 0) {
      return `The text field in the ContentBlock object at ${path}.${blank} is blank. Add text to the text field, and try again.`;
    }
  }
  return undefined;
}

function findToolError({ messages, toolConfig }: ConverseBody): string | undefined {
  const blocks = messages.flatMap(({ content }) => content);
  if (!toolConfig && blocks.some(({ toolUse, toolResult }) => toolUse || toolResult)) {
    return 'The toolConfig field must be defined when using toolUse and toolResult content blocks.';
  }
  for (const [index, { content }] of messages.entries()) {
    const called = (messages[index - 1]?.content ?? []).flatMap(({ toolUse }) => (toolUse ? [toolUse.toolUseId] : []));
    const answered = content.flatMap(({ toolResult }) => (toolResult ? [toolResult.toolUseId] : []));
    if (answered.some((id) => !called.includes(id))) {
      return `The number of toolResult blocks at messages.${index}.content exceeds the number of toolUse blocks of previous turn.`;
    }
    const missing = called.filter((id) => !answered.includes(id));
    if (missing.length > 0) {
      return `Expected toolResult blocks at messages.${index}.content for the following Ids: ${missing.join(', ')}`;
    }
  }
  return undefined;
}
