import type { ContentBlock, Message as ConverseMessage } from '@aws-sdk/client-bedrock-runtime';
import type { GenerationRequest } from '../../generation.ts';
import type { BedrockFamily } from './family.ts';
import { invalidValueError } from './value-errors.ts';

/** The turns of a conversation. Content of one role after another shares a turn. */
export class Turns {
  readonly #list: { role: 'user' | 'assistant'; content: ContentBlock[] }[] = [];
  readonly #besideResults: BedrockFamily['toolResults']['beside'];

  /** @param besideResults what a turn with tool results may contain besides them */
  constructor(besideResults: BedrockFamily['toolResults']['beside']) {
    this.#besideResults = besideResults;
  }

  add(role: 'user' | 'assistant', content: readonly ContentBlock[]): void {
    // Converse refuses blank text. A message that holds nothing else is dropped.
    if (content.length === 0) return;
    const last = this.#list.at(-1);
    if (last?.role !== role) {
      this.#list.push({ role, content: [...content] });
    } else if (this.#mustSeparate([...last.content, ...content])) {
      this.#list.push({ role: 'assistant', content: [{ text: 'OK.' }] }, { role, content: [...content] });
    } else {
      last.content.push(...content);
    }
  }

  #mustSeparate(content: readonly ContentBlock[]): boolean {
    if (this.#besideResults === 'anything' || !content.some(({ toolResult }) => toolResult)) return false;
    return content.some((block) =>
      this.#besideResults === 'nothing' ? !block.toolResult && !block.cachePoint : block.document !== undefined,
    );
  }

  /** Returns the turns, after a last conversion of their content. */
  finish(convert: (content: readonly ContentBlock[]) => ContentBlock[]): ConverseMessage[] {
    return this.#list.map(({ role, content }) => ({ role, content: convert(addDocumentIntro(content)) }));
  }
}

/** Adds a text to a turn that has documents and no text: Converse refuses a document without one. */
function addDocumentIntro(content: readonly ContentBlock[]): readonly ContentBlock[] {
  if (!content.some(({ document }) => document) || content.some(({ text }) => text !== undefined)) return content;
  return [...content, { text: '(See the documents.)' }];
}

/**
 * Adds a neutral user message at the front if the conversation doesn't begin with one (an assistant's greeting, a
 * system prompt alone): Converse requires it, OpenAI's API doesn't.
 * @throws UpstreamError `invalid_value` if the last user message is blank, because there is nothing to answer
 */
export function startWithUser(turns: ConverseMessage[], request: GenerationRequest): ConverseMessage[] {
  const lastIndex = request.messages.length - 1;
  if (request.messages[lastIndex]?.role === 'user' && turns.at(-1)?.role !== 'user') {
    const param = `${request.parameterNames['messages'] ?? 'messages'}[${lastIndex}]`;
    throw invalidValueError(param, 'the message is blank, and this model needs text or an image to answer');
  }
  if (turns[0]?.role === 'user') return turns;
  return [{ role: 'user', content: [{ text: '(The conversation begins.)' }] }, ...turns];
}

/**
 * Makes a conversation that ends with an assistant message acceptable. Models that go on with such a message refuse white
 * space at its end, and reasoning as its last block; for other models, a neutral user message follows it.
 * @param goesOn true if the model goes on with the message
 */
export function endWithUser(turns: readonly ConverseMessage[], goesOn: boolean): ConverseMessage[] {
  const last = turns.at(-1);
  if (last?.role !== 'assistant') return [...turns];
  const before = turns.slice(0, -1);
  const content = dropTrailingReasoning(last.content ?? []);
  if (content.length === 0) return before;
  if (!goesOn) {
    return [...before, { role: 'assistant', content }, { role: 'user', content: [{ text: '(Continue.)' }] }];
  }
  const end = content.at(-1);
  const trimmed = end?.text === undefined ? content : [...content.slice(0, -1), { text: end.text.trimEnd() }];
  return [...before, { role: 'assistant', content: trimmed }];
}

function dropTrailingReasoning(content: readonly ContentBlock[]): ContentBlock[] {
  return content.slice(0, content.findLastIndex(({ reasoningContent }) => reasoningContent === undefined) + 1);
}
