import type { ChatRequest } from './chat-request.ts';
import type { Work } from './engine.ts';

/** Hears what becomes of one request. */
export interface RequestWatch {
  /** Ends the answer's text, so that it is known whose answer it is. */
  readonly signature: string;
  /** Tokens are about to be sent. */
  worked(work: Work): void;
  /** The connection is closed. `whole` when the last token was sent before. */
  ended(work: Work, whole: boolean): void;
}

/** Is told of each chat completion before its work begins. */
export type Watch = (request: ChatRequest) => RequestWatch;
