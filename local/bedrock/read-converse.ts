import type { ConverseBody } from './converse-request.ts';
import {
  type Block,
  type CachePoint,
  isRecord,
  type ModelCall,
  type ToolChoice,
  type ToolDefinition,
} from './rules/call.ts';
import { readModel } from './rules/models.ts';

/** Reads a call of Converse or ConverseStream. */
export function readConverseCall(modelId: string, streamed: boolean, body: ConverseBody): ModelCall {
  const fields = body.additionalModelRequestFields ?? {};
  const { maxTokens, temperature, topP, stopSequences = [] } = body.inferenceConfig ?? {};
  const schema = body.outputConfig?.textFormat?.structure.jsonSchema.schema;
  return {
    model: readModel(modelId),
    streamed,
    system: (body.system ?? []).map(readBlock),
    turns: body.messages.map(({ role, content }) => ({ role, blocks: content.map(readBlock) })),
    tools: body.toolConfig?.tools.map((tool) => readTool(tool)),
    toolChoice: readToolChoice(body.toolConfig?.toolChoice, fields['tool_choice']),
    maxTokens,
    temperature,
    topP,
    topK: typeof fields['top_k'] === 'number' ? fields['top_k'] : undefined,
    stop: stopSequences,
    outputSchema: schema === undefined ? undefined : JSON.parse(schema),
    effort: body.outputConfig?.effort,
    thinking: readThinking(fields['thinking']),
    fields,
  };
}

type ConverseBlock = ConverseBody['messages'][number]['content'][number];

function readBlock(block: ConverseBlock): Block {
  const { text, image, document, toolUse, toolResult, reasoningContent, cachePoint } = block;
  if (text !== undefined) return { type: 'text', text };
  if (image) return { type: 'image', format: image.format, bytes: Buffer.from(image.source.bytes, 'base64') };
  if (document) {
    const bytes = Buffer.byteLength(document.source.bytes ?? '', 'base64');
    return { type: 'document', name: document.name, format: document.format, bytes };
  }
  if (toolUse) return { type: 'toolUse', id: toolUse.toolUseId, name: toolUse.name };
  if (toolResult) {
    const { toolUseId, status, content } = toolResult;
    return { type: 'toolResult', id: toolUseId, status, content: content.map(readBlock) };
  }
  if (reasoningContent) {
    const signature = reasoningContent.reasoningText?.signature;
    return { type: 'reasoning', signed: signature !== undefined || reasoningContent.redactedContent !== undefined };
  }
  return cachePoint ? { type: 'cachePoint', ttl: cachePoint.ttl } : { type: 'other' };
}

function readTool({
  toolSpec,
  cachePoint,
}: NonNullable<ConverseBody['toolConfig']>['tools'][number]): ToolDefinition | CachePoint {
  if (toolSpec === undefined) return { type: 'cachePoint', ttl: cachePoint?.ttl };
  return { type: 'tool', name: toolSpec.name, schema: toolSpec.inputSchema.json, strict: toolSpec.strict ?? false };
}

/** Reads Converse's choice, or the one that a caller passes to Claude in its own field. */
function readToolChoice(choice: Readonly<Record<string, unknown>> | undefined, own: unknown): ToolChoice | undefined {
  if (choice !== undefined) {
    const named = choice['tool'];
    const name = isRecord(named) && typeof named['name'] === 'string' ? named['name'] : undefined;
    return { type: named !== undefined ? 'tool' : choice['any'] !== undefined ? 'any' : 'auto', name };
  }
  if (!isRecord(own)) return undefined;
  const name = typeof own['name'] === 'string' ? own['name'] : undefined;
  const type = (['any', 'tool', 'none'] as const).find((each) => each === own['type']) ?? 'auto';
  return { type, name };
}

function readThinking(value: unknown): ModelCall['thinking'] {
  if (!isRecord(value) || typeof value['type'] !== 'string') return undefined;
  const budget = value['budget_tokens'];
  return { type: value['type'], budgetTokens: typeof budget === 'number' ? budget : undefined };
}
