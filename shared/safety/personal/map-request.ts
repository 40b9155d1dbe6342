import { isDeepStrictEqual } from 'node:util';
import type {
  AssistantMessage,
  ContentPart,
  GenerationRequest,
  Hints,
  HostedTools,
  Message,
  OutputFormat,
  ReasoningPart,
  TextPart,
  Tool,
  ToolCallPart,
  ToolChoice,
} from '../../inference/generation.ts';
import { isOpaque, isOpaqueText, type RecordSource } from '../opaque.ts';
import { mapJsonText, mapJsonValue, type TextPlace, type VisitText } from './visitor.ts';

/** Replaces the texts of a request. */
export interface RequestVisitor {
  readonly visit: VisitText;
  /** Called for an image or a PDF document. */
  readonly visitUnsearchable: (param: string) => void;
}

type Fields = Required<GenerationRequest>;
type MapField<Name extends keyof Fields> = (
  value: Fields[Name],
  visitor: RequestVisitor,
  place: TextPlace,
) => Fields[Name];

type MapAny = (value: unknown, visitor: RequestVisitor, place: TextPlace) => unknown;

/**
 * What happens to each field of a request. The compiler demands an entry for a new one.
 * - `kept`: it has no text of the caller, or isn't sent;
 * - `dropped`: it repeats the request in another form.
 */
const FIELDS: { readonly [Name in keyof Fields]: MapField<Name> | 'kept' | 'dropped' } = {
  tenant: 'kept',
  model: 'kept',
  messages: (messages, visitor, place) => messages.map((message) => mapMessage(message, visitor, place)),
  tools: (tools, { visit }, place) => tools.map((tool) => mapTool(tool, visit, place)),
  toolChoice: (choice, { visit }, place) => mapToolChoice(choice, visit, place),
  hostedTools: (tools, { visit }, { param }) =>
    mapJsonValue<HostedTools>(tools, visit, { param: param === 'hostedTools' ? 'tools' : param }),
  parallelToolCalls: 'kept',
  format: (format, { visit }, place) => mapFormat(format, visit, place),
  maxOutputTokens: 'kept',
  isMaxChosen: 'kept',
  temperature: 'kept',
  topP: 'kept',
  topK: 'kept',
  stop: (stop, { visit }, place) => stop.map((text) => visit(text, place)),
  seed: 'kept',
  frequencyPenalty: 'kept',
  presencePenalty: 'kept',
  logitBias: 'kept',
  topLogprobs: 'kept',
  reasoningEffort: 'kept',
  reasoningBudget: 'kept',
  reasoningSummary: 'kept',
  verbosity: 'kept',
  serviceTier: 'kept',
  omitsContinuations: 'kept',
  // Chooses the target and is hashed before it is sent.
  conversationKey: 'kept',
  inSession: 'kept',
  hints: (hints, { visit }) => mapHints(hints, visit),
  original: 'dropped',
  moderation: 'kept',
  unknown: (unknown, { visit }) =>
    Object.fromEntries(
      Object.entries(unknown).map(([field, value]) => [
        visit(field, { param: field, isName: true }),
        mapJsonValue(value, visit, { param: field, field }),
      ]),
    ),
  parameterNames: 'kept',
};

/** Returns the request with all texts replaced that a model or its service can get. It is then sent translated. */
export function mapRequest(request: GenerationRequest, visitor: RequestVisitor): GenerationRequest {
  const mapped: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(request)) {
    const map = Object.hasOwn(FIELDS, name) ? FIELDS[name as keyof Fields] : undefined;
    if (map === undefined) throw new TypeError(`The field ${name} of a request can't be searched`);
    if (map === 'dropped' || value === undefined) continue;
    const place = { param: request.parameterNames[name] ?? name };
    // The entry of a field takes that field's values.
    mapped[name] = map === 'kept' ? value : (map as MapAny)(value, visitor, place);
  }
  return mapped as unknown as GenerationRequest;
}

function mapMessage(message: Message, visitor: RequestVisitor, place: TextPlace): Message {
  const { visit } = visitor;
  const name = 'name' in message && message.name !== undefined ? { name: visit(message.name, toNamePlace(place)) } : {};
  switch (message.role) {
    case 'system':
      return { ...message, ...name, content: message.content.map((part) => mapText(part, visit, place)) };
    case 'user':
      return { ...message, ...name, content: message.content.map((part) => mapContent(part, visitor, place)) };
    case 'tool':
      return {
        ...message,
        toolCallId: visit(message.toolCallId, toNamePlace(place)),
        content: message.content.map((part) => mapContent(part, visitor, place)),
      };
    case 'assistant':
      return { ...message, ...name, content: message.content.map((part) => mapAssistantPart(part, visit, place)) };
  }
}

function mapText(part: TextPart, visit: VisitText, place: TextPlace): TextPart {
  return { ...part, text: visitText(part.text, visit, place) };
}

/**
 * Visits the strings of JSON with escapes by code as the texts that they stand for. Other JSON, such as the results of many tools, is
 * visited as a whole, so that a guardrail gets few texts, with the names of their fields.
 */
function visitText(text: string, visit: VisitText, place: TextPlace): string {
  return text.includes('\\u') ? mapJsonText(text, visit, place) : visit(text, { ...place, mayBeJson: true });
}

function mapContent(part: ContentPart, { visit, visitUnsearchable }: RequestVisitor, place: TextPlace): ContentPart {
  if (part.type === 'text') return mapText(part, visit, place);
  if (part.type === 'image') {
    visitUnsearchable(part.param);
    return 'url' in part ? { ...part, url: visit(part.url, { param: part.param }) } : part;
  }
  const title = part.title === undefined ? {} : { title: visit(part.title, { param: part.param }) };
  if (part.mediaType === 'text/plain') return { ...part, ...title, text: visit(part.text, { param: part.param }) };
  visitUnsearchable(part.param);
  return { ...part, ...title };
}

function mapAssistantPart(
  part: AssistantMessage['content'][number],
  visit: VisitText,
  place: TextPlace,
): AssistantMessage['content'][number] {
  switch (part.type) {
    case 'text':
      return mapText(part, visit, place);
    case 'refusal':
      return { ...part, text: visit(part.text, place) };
    case 'reasoning':
      return mapReasoning(part, visit, place);
    case 'toolCall':
      return mapToolCall(part, visit, place);
  }
}

/** A signature with replaced values is left out, because its upstream would refuse it. */
function mapToolCall({ signature, ...part }: ToolCallPart, visit: VisitText, place: TextPlace): ToolCallPart {
  const { param } = place;
  const isKept =
    signature !== undefined &&
    visit(signature, isOpaqueText(signature) ? { param, isOpaque: true } : { param }) === signature;
  return {
    ...part,
    id: visit(part.id, toNamePlace(place)),
    name: visit(part.name, toNamePlace(place)),
    arguments: mapJsonText(part.arguments, visit, place),
    ...(isKept && { signature }),
  };
}

/** A record with replaced values is left out: its upstream would refuse it, because the signature is that of the old text. */
function mapReasoning(
  { continuation, details, ...part }: ReasoningPart,
  visit: VisitText,
  { param }: TextPlace,
): ReasoningPart {
  const place: TextPlace = continuation === undefined ? { param } : { param, isOfModel: true };
  const visitFrom =
    (source: RecordSource): VisitText =>
    (text, each) =>
      visit(text, { ...each, ...place, ...(isOpaque(text, each.field, source) && { isOpaque: true }) });
  const data = mapJsonValue(continuation?.data, visitFrom('provider'), place);
  return {
    ...part,
    text: visit(part.text, place),
    ...(continuation && isDeepStrictEqual(data, continuation.data) && { continuation }),
    ...(details && { details: mapJsonValue(details, visitFrom('caller'), place) }),
  };
}

function mapTool(tool: Tool, visit: VisitText, place: TextPlace): Tool {
  const { description, custom } = tool;
  return {
    ...tool,
    name: visit(tool.name, toNamePlace(place)),
    ...(description !== undefined && { description: visit(description, place) }),
    parameters: mapJsonValue(tool.parameters, visit, { ...place, isSchema: true }),
    ...(custom && { custom: mapJsonValue(custom, visit, place) }),
  };
}

function mapToolChoice(choice: ToolChoice, visit: VisitText, place: TextPlace): ToolChoice {
  return typeof choice === 'string' ? choice : { ...choice, name: visit(choice.name, toNamePlace(place)) };
}

function mapFormat(format: OutputFormat, visit: VisitText, place: TextPlace): OutputFormat {
  if (format.type !== 'jsonSchema') return format;
  const { description } = format;
  return {
    ...format,
    name: visit(format.name, toNamePlace(place)),
    ...(description !== undefined && { description: visit(description, place) }),
    schema: mapJsonValue(format.schema, visit, { ...place, isSchema: true }),
  };
}

function mapHints(hints: Hints, visit: VisitText): Hints {
  const { user, safetyIdentifier, promptCacheKey, metadata } = hints;
  return {
    ...hints,
    ...(user !== undefined && { user: visit(user, { param: 'user', isName: true }) }),
    ...(safetyIdentifier !== undefined && {
      safetyIdentifier: visit(safetyIdentifier, { param: 'safety_identifier', isName: true }),
    }),
    ...(promptCacheKey !== undefined && {
      promptCacheKey: visit(promptCacheKey, { param: 'prompt_cache_key', isName: true }),
    }),
    ...(metadata && { metadata: mapJsonValue(metadata, visit, { param: 'metadata' }) }),
  };
}

function toNamePlace({ param }: TextPlace): TextPlace {
  return { param, isName: true };
}
