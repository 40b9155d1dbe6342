import type { ChatRequest } from './chat-request.ts';
import type { Work } from './engine.ts';

/**
 * Observes one request of a stand-in engine. Chaos tests use it to learn what an engine did; `npm start` has no
 * observers.
 */
export interface RequestObserver {
  /** Appended to the answer's text, to identify the worker that gave it. */
  readonly signature: string;
  /** Called before tokens are sent, with the work up to now; only once for an answer that is not streamed. */
  onWork(work: Work): void;
  /** Called when the connection is closed. `complete` is true if the whole answer had been written to it. */
  onClose(work: Work, complete: boolean): void;
}

/** Returns the observer of a chat completion. Called before the engine starts it, if the prompt fits the context. */
export type ObserveRequest = (request: ChatRequest) => RequestObserver;
