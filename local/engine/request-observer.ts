import type { ChatRequest } from './chat-request.ts';
import type { Work } from './engine.ts';

/** Observes one request. */
export interface RequestObserver {
  /** Appended to the answer's text, to identify the worker that gave it. */
  readonly signature: string;
  /** Called before tokens are sent. */
  onWork(work: Work): void;
  /** Called when the connection is closed. `complete` is true if the last token was sent before. */
  onClose(work: Work, complete: boolean): void;
}

/** Called with each chat completion before the engine starts it. */
export type ObserveRequest = (request: ChatRequest) => RequestObserver;
