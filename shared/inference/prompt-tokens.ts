import { estimateTokens } from '../core/token-estimate.ts';
import type { GenerationRequest, Message } from './generation.ts';

/** Tokens that hosted models count for an image of usual size. They don't depend on its size in bytes. */
const TOKENS_PER_IMAGE = 1_600;
/** Tokens for the role and separators of every message. */
const TOKENS_PER_MESSAGE = 4;
/**
 * Anthropic counts 1,500 to 3,000 tokens for a page of a PDF, and a page has about 75 kB.
 * @see https://platform.claude.com/docs/en/build-with-claude/pdf-support
 */
const TOKENS_PER_PAGE = 2_250;
const BASE64_PER_PAGE = 100_000;

/** Estimates the tokens of a request's prompt, without knowing the model. */
export function estimatePromptTokens(request: Pick<GenerationRequest, 'messages' | 'tools' | 'format'>): number {
  return request.messages.reduce((sum, message) => sum + estimateMessageTokens(message), estimateFixedTokens(request));
}

/** Estimates the tokens of everything except for the messages. */
export function estimateFixedTokens({ tools, format }: Pick<GenerationRequest, 'tools' | 'format'>): number {
  return estimateTokens(JSON.stringify([tools, format]));
}

/** Estimates the tokens of one message. */
export function estimateMessageTokens(message: Message): number {
  let tokens = TOKENS_PER_MESSAGE;
  for (const part of message.content) {
    if (part.type === 'image') tokens += TOKENS_PER_IMAGE;
    else if (part.type === 'toolCall') tokens += estimateTokens(part.name) + estimateTokens(part.arguments);
    else if ('text' in part) tokens += estimateTokens(part.text);
    else tokens += Math.ceil(part.base64.length / BASE64_PER_PAGE) * TOKENS_PER_PAGE;
  }
  return tokens;
}
