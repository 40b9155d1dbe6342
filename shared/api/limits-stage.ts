import type { Caller } from '../access/principal.ts';
import { LambentError } from '../core/errors.ts';
import { estimateTokens } from '../core/token-estimate.ts';
import type { Embed, EmbeddingRequest, Embeddings } from '../inference/embedding.ts';
import type { GenerationEvent, GenerationRequest } from '../inference/generation.ts';
import type { EndedAnswer } from '../inference/observe.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import type { GenerateOptions, Generation, Router } from '../inference/router.ts';
import type { Defer } from '../lambda/request-context.ts';
import { type Amounts, listCaps } from '../limits/caps.ts';
import { amountsUsed, boundEmbedding, boundRequest } from '../limits/estimate.ts';
import { type FreePlace, Reservations, type ReservationsOptions, type StreamLimits } from './reservations.ts';

export interface LimitsStageOptions extends ReservationsOptions {
  readonly registry: ModelRegistry;
}

/** Whose limits apply, and how the call is answered. */
export interface LimitedCaller {
  readonly caller: Caller;
  /** The API whose headers say what is left of the limits. Default: OpenAI's. */
  readonly headerStyle?: 'anthropic';
  /** Settles after the response. Default: before its end. */
  readonly defer?: Defer | undefined;
}

type LimitedOptions = GenerateOptions & LimitedCaller;

/** The stage of a governed router that reserves what a call may use before it, and settles what it has used after it. */
export class LimitsStage implements StreamLimits {
  readonly #registry: ModelRegistry;
  readonly #reservations: Reservations;

  constructor({ registry, ...options }: LimitsStageOptions) {
    this.#registry = registry;
    this.#reservations = new Reservations(options);
  }

  /** As `Reservations.reserveStream`. */
  reserveStream(...call: Parameters<StreamLimits['reserveStream']>): Promise<FreePlace | undefined> {
    return this.#reservations.reserveStream(...call);
  }

  /**
   * Returns a router that sends requests to `router` under the caller's limits. It throws also LambentError
   * `rate_limit_exceeded` or `insufficient_quota` with the limit's name, and `overloaded` if the table is not available.
   */
  limit(router: Router, limited: LimitedCaller): Router {
    return { generate: (request, options) => this.#generate(request, { ...options, ...limited }, router) };
  }

  async #generate(request: GenerationRequest, options: LimitedOptions, router: Router): Promise<Generation> {
    const { caller, queued = false } = options;
    const kind = options.streamed && !queued ? 'streams' : 'answers';
    const caps = listCaps(caller.policy, request.model, kind);
    if (caps.length === 0) return router.generate(request, options);
    const bounded = boundRequest(request, this.#registry, caps, findAnswerTokens(caller));
    const call = { model: request.model, kind, caps, amounts: bounded.amounts } as const;
    const reserved = await this.#reservations.reserve(call, options);
    if (reserved === undefined) return router.generate(request, options);
    const use = new Use(bounded.prompt);
    try {
      const { events, ...generation } = await router.generate(bounded.request, {
        ...options,
        onEnd: (end) => use.add(end, options),
      });
      const headers = { ...generation.headers, ...reserved.headers };
      return { ...generation, headers, events: settleAtEnd(events, use, () => reserved.settle(use.total(1n))) };
    } catch (thrown) {
      const isGivenUp = use.addIfGivenUp(thrown, options.signal);
      // What a queue tries again counts once it is answered.
      await reserved.settle(use.total(queued && !isGivenUp ? 0n : 1n));
      throw thrown;
    }
  }

  /** As `Embed`, under the caller's limits. Returns also their headers. Throws as a limited router. */
  async embed(
    request: EmbeddingRequest,
    options: Parameters<Embed>[1] & LimitedCaller,
    next: Embed,
  ): Promise<Embeddings & { readonly headers?: Readonly<Record<string, string>> }> {
    const { model } = request;
    const caps = listCaps(options.caller.policy, model, 'answers');
    if (caps.length === 0) return next(request, options);
    const amounts = boundEmbedding(request, this.#registry);
    const reserved = await this.#reservations.reserve({ model, kind: 'answers', caps, amounts }, options);
    const use = new Use(amounts);
    try {
      const result = await next(request, { ...options, onEnd: (end) => use.add(end, options) });
      return { ...result, headers: reserved?.headers ?? {} };
    } catch (thrown) {
      use.addIfGivenUp(thrown, options.signal);
      throw thrown;
    } finally {
      await reserved?.settle(use.total(1n));
    }
  }

  /**
   * Does a call that moderates `texts` texts, under the caller's limits. Each text counts as a request, because it may be a call of
   * its own. Returns the result, and the headers of the limits. Throws as a limited router, and what `next` throws.
   */
  async moderate<T>(
    { model, texts }: { readonly model: string; readonly texts: number },
    options: Pick<LimitedOptions, 'caller' | 'telemetry' | 'defer'>,
    next: () => Promise<T>,
  ): Promise<{ readonly result: T; readonly headers: Readonly<Record<string, string>> }> {
    const caps = listCaps(options.caller.policy, model, 'answers');
    if (caps.length === 0) return { result: await next(), headers: {} };
    const amounts = { requests: BigInt(texts), inputTokens: 0n, outputTokens: 0n, spend: 0n };
    const reserved = await this.#reservations.reserve({ model, kind: 'answers', caps, amounts }, options);
    try {
      return { result: await next(), headers: reserved?.headers ?? {} };
    } finally {
      await reserved?.settle(amounts);
    }
  }
}

function findAnswerTokens({ policy }: Caller): number | undefined {
  const each = [policy.key, policy.project, policy.account].map((level) => level?.limits?.answerTokens);
  return each.find((tokens) => tokens !== undefined);
}

type Used = Omit<Amounts, 'requests'>;

/** What the answers of a call have used. */
class Use {
  readonly #prompt: Used;
  /** Estimated tokens of the answer that were passed on. */
  #outputTokens = 0;
  #sum: Used = { inputTokens: 0n, outputTokens: 0n, spend: 0n };

  /** @param prompt what the prompt alone uses, as estimated */
  constructor(prompt: Used) {
    this.#prompt = prompt;
  }

  read(event: GenerationEvent): void {
    if ('text' in event) this.#outputTokens += estimateTokens(event.text);
    else if ('fragment' in event) this.#outputTokens += estimateTokens(event.fragment);
    else if (event.type === 'native') this.#outputTokens += estimateTokens(JSON.stringify(event.event));
  }

  add(end: EndedAnswer, { onEnd }: Pick<LimitedOptions, 'onEnd'>): void {
    onEnd?.(end);
    // An answer that was cut off has no usage. Its upstream charges for what it has made until then.
    const estimated = {
      inputTokens: Number(this.#prompt.inputTokens),
      outputTokens: this.#outputTokens,
      cachedInputTokens: 0,
      reasoningTokens: 0,
    };
    this.#increase(amountsUsed(end, end.usage ?? estimated));
  }

  /**
   * Adds the prompt of a call that failed because it was cancelled, or its time was over, before it was answered: its upstream
   * charges for what it has read. Otherwise a caller could send any number of prompts, and cancel each. Returns whether it was
   * such a call.
   */
  addIfGivenUp(thrown: unknown, { aborted }: AbortSignal): boolean {
    const isGivenUp = aborted || (thrown instanceof LambentError && thrown.code === 'deadline_exceeded');
    if (isGivenUp) this.#increase(this.#prompt);
    return isGivenUp;
  }

  #increase({ inputTokens, outputTokens, spend }: Used): void {
    this.#sum = {
      inputTokens: this.#sum.inputTokens + inputTokens,
      outputTokens: this.#sum.outputTokens + outputTokens,
      spend: this.#sum.spend + spend,
    };
  }

  total(requests: bigint): Amounts {
    return { requests, ...this.#sum };
  }
}

/** Passes events on, and settles when they end. The last one is passed on while that goes on. */
async function* settleAtEnd(
  events: AsyncIterable<GenerationEvent>,
  use: Use,
  settle: () => Promise<void>,
): AsyncGenerator<GenerationEvent> {
  let settling: Promise<void> | undefined;
  let last: GenerationEvent | undefined;
  try {
    for await (const event of events) {
      use.read(event);
      if (event.type === 'finish') last = event;
      else yield event;
    }
    settling = settle();
    if (last !== undefined) yield last;
  } finally {
    await (settling ?? settle());
  }
}
