import { estimateTokens } from '../core/token-estimate.ts';
import type { Edit, MessagesBody } from './schema.ts';

/** What an edit of `context_management` removed, as Anthropic reports it. */
export type AppliedEdit =
  | { type: 'clear_tool_uses_20250919'; cleared_tool_uses: number; cleared_input_tokens: number }
  | { type: 'clear_thinking_20251015'; cleared_thinking_turns: number; cleared_input_tokens: number };

/** The content that the edits of a request remove. */
export interface EditPlan {
  readonly applied: readonly AppliedEdit[];
  /** Ids of the tool uses whose results are removed. */
  readonly clearedResults: ReadonlySet<string>;
  /** Those of them whose inputs are removed, too. */
  readonly clearedInputs: ReadonlySet<string>;
  /** Indexes of the messages whose thinking is removed. */
  readonly clearedThinking: ReadonlySet<number>;
}

type Messages = MessagesBody['messages'];
type ToolEdit = Extract<Edit, { type: 'clear_tool_uses_20250919' }>;
type ThinkingEdit = Extract<Edit, { type: 'clear_thinking_20251015' }>;

/** Anthropic's defaults. @see https://platform.claude.com/docs/en/build-with-claude/context-editing */
const DEFAULT_TRIGGER_TOKENS = 100_000;
const DEFAULT_KEPT_TOOL_USES = 3;
const DEFAULT_KEPT_THINKING_TURNS = 1;

/**
 * Plans the edits of `context_management`. The service makes them itself, so that they work with every target.
 * @param countTokens estimates the tokens of the prompt. Called only if an edit depends on it
 * @returns undefined if nothing is removed
 */
export function planEdits(
  { messages, context_management }: Pick<MessagesBody, 'messages' | 'context_management'>,
  countTokens: () => number,
): EditPlan | undefined {
  const applied: AppliedEdit[] = [];
  let clearedThinking: ReadonlySet<number> = new Set();
  let tools: ToolPlan | undefined;
  for (const edit of context_management?.edits ?? []) {
    if (edit.type === 'clear_thinking_20251015') {
      const plan = planThinking(messages, edit);
      if (plan === undefined) continue;
      clearedThinking = plan.indexes;
      applied.push(plan.applied);
    } else if (edit.type === 'clear_tool_uses_20250919') {
      tools = planToolUses(messages, edit, countTokens);
      if (tools !== undefined) applied.push(tools.applied);
    }
  }
  if (applied.length === 0) return undefined;
  const clearedResults = tools?.results ?? new Set<string>();
  return { applied, clearedResults, clearedInputs: tools?.inputs ?? new Set(), clearedThinking };
}

interface ToolUse {
  readonly id: string;
  readonly name: string;
  readonly tokens: number;
  readonly inputTokens: number;
}

interface ToolPlan {
  readonly applied: AppliedEdit;
  readonly results: ReadonlySet<string>;
  readonly inputs: ReadonlySet<string>;
}

function planToolUses(messages: Messages, edit: ToolEdit, countTokens: () => number): ToolPlan | undefined {
  const uses = listToolUses(messages);
  const limit = edit.trigger?.value ?? DEFAULT_TRIGGER_TOKENS;
  const size = edit.trigger?.type === 'tool_uses' ? uses.length : countTokens();
  if (size <= limit) return undefined;
  const kept = edit.keep?.value ?? DEFAULT_KEPT_TOOL_USES;
  const old = uses.slice(0, Math.max(0, uses.length - kept));
  const cleared = old.filter(({ name }) => !edit.exclude_tools?.includes(name));
  const clearsInput = ({ name }: ToolUse): boolean =>
    edit.clear_tool_inputs === true || (Array.isArray(edit.clear_tool_inputs) && edit.clear_tool_inputs.includes(name));
  const tokens = cleared.reduce((sum, use) => sum + use.tokens + (clearsInput(use) ? use.inputTokens : 0), 0);
  if (cleared.length === 0 || tokens < (edit.clear_at_least?.value ?? 0)) return undefined;
  return {
    applied: {
      type: 'clear_tool_uses_20250919',
      cleared_tool_uses: cleared.length,
      cleared_input_tokens: tokens,
    },
    results: new Set(cleared.map(({ id }) => id)),
    inputs: new Set(cleared.filter(clearsInput).map(({ id }) => id)),
  };
}

function listToolUses(messages: Messages): ToolUse[] {
  const blocks = messages.flatMap(({ content }) => (typeof content === 'string' ? [] : content));
  const tokens = new Map<string, number>();
  for (const block of blocks) {
    if (block.type !== 'tool_result') continue;
    tokens.set(block.tool_use_id, estimateTokens(JSON.stringify(block.content)));
  }
  return blocks.flatMap((block) => {
    if (block.type !== 'tool_use') return [];
    const { id, name } = block;
    return [{ id, name, tokens: tokens.get(id) ?? 0, inputTokens: estimateTokens(JSON.stringify(block.input ?? {})) }];
  });
}

function planThinking(
  messages: Messages,
  { keep }: ThinkingEdit,
): { readonly applied: AppliedEdit; readonly indexes: ReadonlySet<number> } | undefined {
  if (keep === 'all' || keep?.type === 'all') return undefined;
  const kept = keep != null && 'value' in keep ? keep.value : DEFAULT_KEPT_THINKING_TURNS;
  const turns = listThinkingTurns(messages);
  const cleared = turns.slice(0, Math.max(0, turns.length - kept));
  if (cleared.length === 0) return undefined;
  return {
    applied: {
      type: 'clear_thinking_20251015',
      cleared_thinking_turns: cleared.length,
      cleared_input_tokens: cleared.reduce((sum, { tokens }) => sum + tokens, 0),
    },
    indexes: new Set(cleared.flatMap(({ indexes }) => indexes)),
  };
}

/** Lists the turns with thinking. A turn lasts until the user says something, beyond the results of tools. */
function listThinkingTurns(messages: Messages): { indexes: number[]; tokens: number }[] {
  const turns: { indexes: number[]; tokens: number }[] = [];
  let isOpen = false;
  for (const [index, { role, content }] of messages.entries()) {
    const blocks = typeof content === 'string' ? [] : content;
    if (role === 'user' && (typeof content === 'string' || blocks.some(({ type }) => type !== 'tool_result')))
      isOpen = false;
    const thinking = blocks.flatMap((block) => (block.type === 'thinking' ? [block.thinking] : []));
    if (role !== 'assistant' || !blocks.some(isThinking)) continue;
    const turn = isOpen ? turns.at(-1) : undefined;
    const tokens = estimateTokens(thinking.join(''));
    if (turn === undefined) turns.push({ indexes: [index], tokens });
    else {
      turn.indexes.push(index);
      turn.tokens += tokens;
    }
    isOpen = true;
  }
  return turns;
}

function isThinking({ type }: { readonly type?: unknown }): boolean {
  return type === 'thinking' || type === 'redacted_thinking';
}

/** The text that replaces a removed result. */
const CLEARED = '[The result of this tool was removed to save context.]';

/** Returns messages without the content that a plan removes. Works on the caller's own messages as on parsed ones. */
export function applyEdits<T extends { readonly content?: unknown }>(messages: readonly T[], plan: EditPlan): T[] {
  return messages.map((message, index) => {
    if (!Array.isArray(message.content)) return message;
    const content = message.content
      .filter((block) => !(plan.clearedThinking.has(index) && isThinking(Object(block))))
      .map((block) => editBlock(Object(block), plan));
    // A message may not be empty.
    return { ...message, content: content.length > 0 ? content : [{ type: 'text', text: '(no text)' }] };
  });
}

function editBlock(block: Readonly<Record<string, unknown>>, plan: EditPlan): unknown {
  if (block['type'] === 'tool_result' && plan.clearedResults.has(String(block['tool_use_id'])))
    return { ...block, content: CLEARED };
  if (block['type'] === 'tool_use' && plan.clearedInputs.has(String(block['id']))) return { ...block, input: {} };
  return block;
}
