import { type Capability, wantsReasoning } from './capabilities.ts';
import type { GenerationRequest, Message, OutputFormat, ServiceTier } from './generation.ts';
import { appendInstruction, writeJsonInstruction } from './json-instruction.ts';

/** A request as a target gets it, and what the router does for it in the target's place. */
export interface AdaptedRequest {
  readonly request: GenerationRequest;
  /** The caller's parameters that the target doesn't support and that the answer doesn't need. */
  readonly ignored: readonly string[];
  /** Schemas that the target doesn't enforce. The router checks the answer against them. Undefined if there are none. */
  readonly unenforced: UnenforcedSchemas | undefined;
  /** True if only the first tool call of the answer counts. */
  readonly keepsFirstCall: boolean;
  /** The tier that serves the request, if the target lacks the one that the caller asked for. */
  readonly servedTier: ServiceTier | undefined;
}

export interface UnenforcedSchemas {
  /** The schema of the answer's text. */
  readonly format?: JsonSchema;
  /** The schemas of strict tools' arguments, by the tool's name. */
  readonly tools: ReadonlyMap<string, JsonSchema>;
  /** The call that the answer must have: of the named tool, or `required` of any. */
  readonly call?: 'required' | { readonly name: string };
}

export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * Adapts a request to a target that lacks something the caller prefers: hints are left out, names of users are written in
 * front of their messages, and schemas into the prompt. What the answer needs is not touched: the target has it.
 */
export function adaptRequest(request: GenerationRequest, capabilities: ReadonlySet<Capability>): AdaptedRequest {
  const ignored: string[] = [];
  const ignore = (internalName: string): void => {
    ignored.push(request.parameterNames[internalName] ?? internalName);
  };
  const dropped = new Set<keyof GenerationRequest>();
  if (request.verbosity !== undefined && request.verbosity !== 'medium' && !capabilities.has('verbosity')) {
    ignore('verbosity');
    dropped.add('verbosity');
  }
  if (request.seed !== undefined && !capabilities.has('seed')) {
    ignore('seed');
    dropped.add('seed');
  }
  if (!capabilities.has('reasoning')) {
    if (wantsReasoning(request)) ignore('reasoningEffort');
    for (const name of ['reasoningEffort', 'reasoningBudget'] as const) if (name in request) dropped.add(name);
  }
  const lacksTier = isSpecialTier(request.serviceTier) && !capabilities.has('serviceTiers');
  if (lacksTier) dropped.add('serviceTier');
  const keepsFirstCall = !request.parallelToolCalls && request.tools.length > 0 && !capabilities.has('singleToolCall');
  const format = adaptFormat(request.format, capabilities);
  const isNamed = !capabilities.has('names') && request.messages.some((message) => 'name' in message);
  const named = isNamed ? request.messages.map(writeName) : request.messages;
  if (named.some((message, index) => message !== request.messages[index] && message.role !== 'user')) {
    ignored.push(`${request.parameterNames['messages'] ?? 'messages'}[].name`);
  }
  const isToolsStrict = capabilities.has('strictTools') || !request.tools.some(({ strict }) => strict);
  const unchanged =
    dropped.size === 0 &&
    !keepsFirstCall &&
    format.format === request.format &&
    isToolsStrict &&
    named === request.messages;
  return {
    request: unchanged
      ? request
      : {
          ...omit(request, dropped),
          parallelToolCalls: request.parallelToolCalls || keepsFirstCall,
          format: format.format,
          messages: format.prompt === undefined ? named : appendInstruction(named, format.prompt),
          tools: isToolsStrict ? request.tools : request.tools.map((tool) => ({ ...tool, strict: false })),
        },
    ignored,
    unenforced: collectUnenforced(request, format.format, isToolsStrict),
    keepsFirstCall,
    servedTier: lacksTier ? 'default' : undefined,
  };
}

function isSpecialTier(tier: ServiceTier | undefined): boolean {
  return tier === 'flex' || tier === 'priority';
}

function omit(request: GenerationRequest, names: ReadonlySet<keyof GenerationRequest>): GenerationRequest {
  const copy: Partial<Record<keyof GenerationRequest, unknown>> & GenerationRequest = { ...request };
  for (const name of names) delete copy[name];
  return copy;
}

/** Returns the closest format that the target has, and an instruction if that format has no schema. */
function adaptFormat(
  format: OutputFormat,
  capabilities: ReadonlySet<Capability>,
): { readonly format: OutputFormat; readonly prompt?: string } {
  if (format.type !== 'jsonSchema') return { format };
  if (format.strict && capabilities.has('strictJsonSchema')) return { format };
  if (capabilities.has('jsonSchema')) return { format: format.strict ? { ...format, strict: false } : format };
  // A grammar for strict schemas refuses many schemas that aren't strict, so it is not the next best.
  const json: OutputFormat = capabilities.has('json') ? { type: 'json' } : format;
  return json === format ? { format } : { format: json, prompt: writeJsonInstruction(format) };
}

/** Writes the name of a user in front of its text, and drops other names. */
function writeName(message: Message): Message {
  if (!('name' in message) || message.name === undefined) return message;
  const { name, ...unnamed } = message;
  if (unnamed.role !== 'user') return unnamed;
  const [first, ...others] = unnamed.content;
  const content =
    first?.type === 'text'
      ? [{ ...first, text: `${name}: ${first.text}` }, ...others]
      : [{ type: 'text' as const, text: `${name}:` }, ...unnamed.content];
  return { ...unnamed, content };
}

/** What only the prompt asks the model for, because the upstream can't enforce it. */
export interface PromptOnly {
  readonly format: boolean;
  readonly call: boolean;
}

/**
 * Returns the strict schemas of a request; undefined if nothing is to be checked.
 * @param promptOnly whether only the prompt asks for the format, whose schema is then returned even if it is not strict, and
 * for the tool call
 */
export function collectStrictSchemas(
  { format, tools, toolChoice }: GenerationRequest,
  promptOnly: PromptOnly,
): UnenforcedSchemas | undefined {
  const isStrict = format.type === 'jsonSchema' && format.strict;
  const strictTools = tools.filter(({ strict }) => strict);
  const call = promptOnly.call && toolChoice !== 'auto' && toolChoice !== 'none' ? toolChoice : undefined;
  if (!isStrict && !promptOnly.format && call === undefined && strictTools.length === 0) return undefined;
  const schema = format.type === 'jsonSchema' ? format.schema : { type: 'object' };
  return {
    ...(isStrict || promptOnly.format ? { format: schema } : {}),
    ...(call !== undefined && { call }),
    tools: new Map(strictTools.map(({ name, parameters }) => [name, parameters])),
  };
}

function collectUnenforced(
  { format, tools }: GenerationRequest,
  sentFormat: OutputFormat,
  isToolsStrict: boolean,
): UnenforcedSchemas | undefined {
  const strictTools = isToolsStrict ? [] : tools.filter(({ strict }) => strict);
  const isChecked = format.type === 'jsonSchema' && format.strict && sentFormat !== format;
  if (!isChecked && strictTools.length === 0) return undefined;
  return {
    ...(isChecked ? { format: format.schema } : {}),
    tools: new Map(strictTools.map(({ name, parameters }) => [name, parameters])),
  };
}
