import { isObject } from '../core/objects.ts';
import { createThinkingContinuation } from '../inference/claude-thinking.ts';
import type { AssistantMessage, ContentPart, Message, ReasoningPart, TextPart } from '../inference/generation.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { decodeReasoning } from '../wire/continuation.ts';
import { markMessage } from '../wire/mark-message.ts';
import { toContentParts, toMark, toTextPart } from './content.ts';
import type { Block, MessageParam, MessagesBody } from './schema.ts';
import { checkToolResults } from './tool-results.ts';
import { invalidRequestError } from './validation.ts';

/** Messages in the internal form, and the paths of what no model gets. */
export interface TranslatedMessages {
  readonly messages: readonly Message[];
  readonly ignored: readonly string[];
}

/**
 * Claude Code puts a line about its own version and billing in front of the system prompt. It changes with every request,
 * so that no prefix could be cached, and isn't meant for the model.
 */
const BILLING_LINE = /^x-anthropic-billing-header:/;

/** Returns whether a system text is metadata of the client, not part of the prompt. */
export function isClientMetadata(text: string): boolean {
  return BILLING_LINE.test(text);
}

/**
 * Translates the system prompt and the messages. Tool results become messages of their own.
 * @throws LambentError `invalid_value` for an unsupported image or document, or for tool results that match no tool use
 */
export function translateMessages(
  { system, messages, cache_control }: Pick<MessagesBody, 'system' | 'messages' | 'cache_control'>,
  registry: ModelRegistry,
): TranslatedMessages {
  const translation = new Translation(registry);
  const texts = toBlocks(system ?? '').flatMap((block) => (block.type === 'text' ? [toTextPart(block)] : []));
  translation.addSystem(texts.filter(({ text }) => !isClientMetadata(text)));
  const lastUser = messages.findLastIndex(({ role }) => role === 'user');
  const before = translation.messages.length;
  for (const [index, message] of messages.entries()) translation.add(message, `messages.${index}`, index < lastUser);
  checkToolResults(messages);
  const all = translation.messages;
  if (all.length === before) throw invalidRequestError('messages', 'At least one message must have content');
  const last = all.at(-1);
  if (cache_control != null && last !== undefined) all[all.length - 1] = markMessage(last, toMark(cache_control));
  return { messages: all, ignored: translation.ignored };
}

function toBlocks<T>(
  content: string | readonly T[],
): readonly (T | { type: 'text'; text: string; cache_control?: null })[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content;
}

class Translation {
  readonly messages: Message[] = [];
  readonly ignored: string[] = [];
  readonly #registry: ModelRegistry;

  constructor(registry: ModelRegistry) {
    this.#registry = registry;
  }

  addSystem(content: readonly TextPart[]): void {
    if (content.some(({ text }) => text !== '')) this.messages.push({ role: 'system', content });
  }

  /** @param isPast whether a user message follows */
  add({ role, content, clear_at }: MessageParam, param: string, isPast: boolean): void {
    const blocks = toBlocks(content);
    if (role === 'assistant') this.#addAssistant(blocks, param);
    else if (role === 'user') this.#addUser(blocks, param);
    // Such a message is shown only until the next user message.
    else if (!(clear_at === 'next_user_message' && isPast))
      this.addSystem(blocks.flatMap((block) => (block.type === 'text' ? [toTextPart(block)] : [])));
  }

  /** Tool results precede all else in a user message, as Anthropic requires. */
  #addUser(blocks: readonly Block[], param: string): void {
    const parts: ContentPart[] = [];
    for (const [index, block] of blocks.entries()) {
      const path = `${param}.content.${index}`;
      if (block.type !== 'tool_result') {
        const translated = toContentParts(block, path, this.#registry);
        if (translated.length === 0) this.ignored.push(path);
        this.ignored.push(...listCitations(block, path));
        parts.push(...translated);
        continue;
      }
      const content = toBlocks(block.content).flatMap((each, position) => {
        this.ignored.push(...listCitations(each, `${path}.content.${position}`));
        return toContentParts(each, `${path}.content.${position}`, this.#registry);
      });
      this.messages.push({
        role: 'tool',
        toolCallId: block.tool_use_id,
        content: content.filter((part) => part.type !== 'text' || part.text !== ''),
        ...(block.is_error === true && { isError: true }),
        ...toMark(block.cache_control),
      });
    }
    if (parts.length > 0) this.messages.push({ role: 'user', content: parts });
  }

  #addAssistant(blocks: readonly Block[], param: string): void {
    const content: AssistantMessage['content'][number][] = [];
    for (const [index, block] of blocks.entries()) {
      switch (block.type) {
        case 'text':
          if (block.text !== '') content.push(toTextPart(block));
          break;
        case 'thinking':
          content.push(toReasoning(block.thinking, block.signature));
          break;
        case 'redacted_thinking': {
          // Claude's own redacted thinking can be sent back only in the caller's body.
          const reasoning = decodeReasoning(block.data);
          if (reasoning !== undefined) content.push(reasoning);
          break;
        }
        case 'tool_use': {
          const { id, name, input, cache_control } = block;
          content.push({
            type: 'toolCall',
            id,
            name,
            arguments: JSON.stringify(input ?? {}),
            ...toMark(cache_control),
          });
          break;
        }
        case 'compaction':
          if (block.content) content.push({ type: 'text', text: block.content, ...toMark(block.cache_control) });
          break;
        default:
          this.ignored.push(`${param}.content.${index}`);
      }
    }
    if (content.length > 0) this.messages.push({ role: 'assistant', content });
  }
}

/** Returns the path of a block's citations if it asks for them. */
function listCitations(block: object, param: string): string[] {
  const isAsked = 'citations' in block && isObject(block.citations) && block.citations['enabled'] === true;
  return isAsked ? [`${param}.citations`] : [];
}

/** The `provider` of reasoning that no provider needs back. */
export const UNNEEDED = 'none';

/** Returns the reasoning of a thinking block: one of this service, or Claude's own. */
function toReasoning(thinking: string, signature: string): ReasoningPart {
  const own = decodeReasoning(signature);
  if (own?.continuation?.provider === UNNEEDED) return { type: 'reasoning', text: own.text };
  if (own !== undefined) return own;
  if (signature === '') return { type: 'reasoning', text: thinking };
  return { type: 'reasoning', text: thinking, continuation: createThinkingContinuation(thinking, signature) };
}
