import { createHash } from 'node:crypto';
import type { GenerationRequest, Message } from '../../generation.ts';

/**
 * Yields a prompt as text in the order of chat templates: tools, then messages. Two prompts that an engine tokenizes to
 * a common prefix have texts with a common prefix. The text is only hashed and measured, never sent. An image or
 * a document is replaced by its digest.
 */
export function* canonicalizePrompt({
  tools,
  messages,
}: Pick<GenerationRequest, 'tools' | 'messages'>): Generator<string> {
  for (const { name, description, parameters } of tools) yield toLine(['tool', name, description ?? '', parameters]);
  for (const message of messages) yield* canonicalizeMessage(message);
}

function* canonicalizeMessage(message: Message): Generator<string> {
  yield toLine([message.role, 'name' in message ? (message.name ?? '') : '']);
  for (const part of message.content) {
    switch (part.type) {
      case 'text':
      case 'refusal':
        yield `${part.text}\n`;
        break;
      case 'image':
        yield toLine(['image', digest('url' in part ? part.url : part.base64)]);
        break;
      case 'document':
        yield toLine(['document', part.title ?? '', digest('text' in part ? part.text : part.base64)]);
        break;
      case 'toolCall':
        yield toLine(['call', part.name, part.arguments]);
        break;
      case 'reasoning':
        // Chat templates omit the reasoning of earlier turns.
        break;
    }
  }
}

function toLine(values: readonly unknown[]): string {
  return `${JSON.stringify(values)}\n`;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
