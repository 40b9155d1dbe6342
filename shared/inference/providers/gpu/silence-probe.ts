import type { GenerationRequest } from '../../generation.ts';
import type { Model } from '../../model.ts';

/**
 * Finds out whether a worker that sends nothing for a request still answers others, by a request of ours for one token.
 * If it does, the silence is the request's, and the worker stays in service: the probe that ends a suspicion asks for no
 * more. If it doesn't, the worker hangs for everybody.
 */
export class SilenceProbe {
  readonly #endpoint: Model;
  readonly #request: GenerationRequest;
  #current: { readonly answer: Promise<boolean>; readonly abort: AbortController } | undefined;

  /**
   * @param endpoint the model at the worker's address
   * @param request the silent request
   */
  constructor(endpoint: Model, { tenant, model }: Pick<GenerationRequest, 'tenant' | 'model'>) {
    this.#endpoint = endpoint;
    this.#request = createProbeRequest(tenant, model);
  }

  /** Sends the probe, unless one was sent since the last `stop`. */
  start(): void {
    if (this.#current !== undefined) return;
    const abort = new AbortController();
    this.#current = { abort, answer: this.#send(abort.signal) };
  }

  /** Returns true if the worker has answered the probe, or answers it within `graceMs` milliseconds. */
  async waitForAnswer(graceMs: number): Promise<boolean> {
    if (this.#current === undefined) return false;
    const { abort, answer } = this.#current;
    const timer = setTimeout(() => abort.abort(), graceMs);
    return answer.finally(() => clearTimeout(timer));
  }

  /** Ends the probe. The next silence needs a new one. */
  stop(): void {
    this.#current?.abort.abort();
    this.#current = undefined;
  }

  async #send(signal: AbortSignal): Promise<boolean> {
    try {
      // The first event is enough: the engine has run the request.
      for await (const _ of this.#endpoint.generate(this.#request, { signal, streamed: true })) {
        return true;
      }
    } catch {
      // No answer.
    }
    return false;
  }
}

function createProbeRequest(tenant: string, model: string): GenerationRequest {
  return {
    tenant,
    model,
    messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }],
    tools: [],
    toolChoice: 'auto',
    parallelToolCalls: true,
    format: { type: 'text' },
    maxOutputTokens: 1,
    stop: [],
    reasoningSummary: false,
    conversationKey: '',
    hints: {},
    unknown: {},
    parameterNames: {},
  };
}
