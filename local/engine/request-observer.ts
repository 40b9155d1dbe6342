import type { ChatRequest } from './chat-request.ts';
import type { Work } from './engine.ts';

/** Hears what becomes of one request. */
export interface RequestObserver {
  /** Ends the answer's text, so that it is known whose answer it is. */
  readonly signature: string;
  /** Tokens are about to be sent. */
  onWork(work: Work): void;
  /** The connection is closed. `whole` when the last token was sent before. */
  onClose(work: Work, whole: boolean): void;
}

/** Is told of each chat completion before its work begins. */
export type ObserveRequest = (request: ChatRequest) => RequestObserver;
