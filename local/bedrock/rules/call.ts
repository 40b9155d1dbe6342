import type { Model } from './models.ts';

/** A request to a model in the terms of the rules, whichever API carries it. */
export interface ModelCall {
  readonly model: Model;
  readonly streamed: boolean;
  readonly system: readonly Block[];
  readonly turns: readonly Turn[];
  /** Absent if the request declares no tools. */
  readonly tools: readonly (ToolDefinition | CachePoint)[] | undefined;
  readonly toolChoice: ToolChoice | undefined;
  readonly maxTokens: number | undefined;
  readonly temperature: number | undefined;
  readonly topP: number | undefined;
  readonly topK: number | undefined;
  readonly stop: readonly string[];
  /** The JSON schema of the answer. */
  readonly outputSchema: unknown;
  readonly effort: string | undefined;
  /** Claude's `thinking`. */
  readonly thinking: { readonly type: string; readonly budgetTokens: number | undefined } | undefined;
  /** Fields that only some models know, such as Nova's `reasoningConfig`. */
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface Turn {
  readonly role: 'user' | 'assistant';
  readonly blocks: readonly Block[];
}

export type Block =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image'; readonly format: string; readonly bytes: Buffer }
  | { readonly type: 'document'; readonly name: string; readonly format: string | undefined; readonly bytes: number }
  | { readonly type: 'toolUse'; readonly id: string; readonly name: string }
  | { readonly type: 'toolResult'; readonly id: string; readonly status: unknown; readonly content: readonly Block[] }
  | { readonly type: 'reasoning'; readonly signed: boolean }
  | CachePoint
  | { readonly type: 'other' };

export interface CachePoint {
  readonly type: 'cachePoint';
  readonly ttl: string | undefined;
}

export interface ToolDefinition {
  readonly type: 'tool';
  readonly name: string;
  readonly schema: Readonly<Record<string, unknown>>;
  readonly strict: boolean;
}

export interface ToolChoice {
  readonly type: 'auto' | 'any' | 'tool' | 'none';
  /** The tool of the type `tool`. */
  readonly name: string | undefined;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Returns the tools that a request declares. */
export function listTools({ tools = [] }: ModelCall): ToolDefinition[] {
  return tools.filter((tool): tool is ToolDefinition => tool.type === 'tool');
}
