import { createHash } from 'node:crypto';
import type { GenerationRequest, Message } from '../../generation.ts';

/**
 * A prompt as text, in the order in which chat templates put it: tools, then the messages, so that two requests whose
 * text begins alike have prompts that begin alike. It is hashed and measured, and never sent. An image counts as its digest.
 */
export function* canonicalPrompt({
  tools,
  messages,
}: Pick<GenerationRequest, 'tools' | 'messages'>): Generator<string> {
  for (const { name, description, parameters } of tools) yield line(['tool', name, description ?? '', parameters]);
  for (const message of messages) yield* messageText(message);
}

function* messageText(message: Message): Generator<string> {
  yield line([message.role, 'name' in message ? (message.name ?? '') : '']);
  for (const part of message.content) {
    switch (part.type) {
      case 'text':
      case 'refusal':
        yield `${part.text}\n`;
        break;
      case 'image':
        yield line(['image', digest('url' in part ? part.url : part.base64)]);
        break;
      case 'toolCall':
        yield line(['call', part.name, part.arguments]);
        break;
      case 'reasoning':
        // Templates leave earlier turns' reasoning out.
        break;
    }
  }
}

function line(values: readonly unknown[]): string {
  return `${JSON.stringify(values)}\n`;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
