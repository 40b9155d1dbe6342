import type { Caller } from '../access/principal.ts';
import { LambentError } from '../core/errors.ts';
import { type Capability, wantsReasoning } from '../inference/capabilities.ts';
import type { Embed, EmbeddingRequest, Embeddings } from '../inference/embedding.ts';
import type { GenerationEvent, GenerationRequest } from '../inference/generation.ts';
import { expandFallbacks, type ModelRegistry, resolveModeration, type Target } from '../inference/registry.ts';
import type { GenerateOptions, Generation, Router } from '../inference/router.ts';
import type { Defer } from '../lambda/request-context.ts';
import { type Amounts, addConsumption, type Cap, listCaps, listModelCaps, NO_CONSUMPTION } from '../limits/caps.ts';
import { boundEmbedding, boundRequest } from '../limits/estimate.ts';
import type { Call } from '../limits/limiter.ts';
import { type Reasoning, Use } from '../limits/use.ts';
import { AttemptReservations } from './attempt-reservations.ts';
import { type FreePlace, Reservations, type ReservationsOptions, type StreamLimits } from './reservations.ts';

export interface LimitsStageOptions extends ReservationsOptions {
  readonly registry: ModelRegistry;
  readonly getCapabilities: (target: Target) => ReadonlySet<Capability>;
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
  readonly #getCapabilities: LimitsStageOptions['getCapabilities'];
  readonly #reservations: Reservations;

  constructor({ registry, getCapabilities, ...options }: LimitsStageOptions) {
    this.#registry = registry;
    this.#getCapabilities = getCapabilities;
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
    const { policy } = caller;
    const registry = this.#registry;
    const kind = options.streamed && !queued ? 'streams' : 'answers';
    // Without a call of the model, only the moderation is limited.
    const models = request.moderation?.isAlone ? [] : expandFallbacks(request.model, registry);
    const caps = models.length === 0 ? [] : listCaps(policy, request.model, kind);
    const [, ...fallbacks] = models;
    const capsOf = new Map(fallbacks.map((model) => [model, listModelCaps(policy, model, kind)]));
    const all = [...caps, ...[...capsOf.values()].flat()];
    const moderation = await this.#reserveModeration(request, options);
    if (all.length === 0 && moderation === undefined) return router.generate(request, options);
    const bounded = boundRequest(request, registry, all, findAnswerTokens(caller));
    const { amounts, boundAttempt, isRepeatable } = bounded;
    const reserve = async (model: string, some: readonly Cap[], call: Pick<Call, 'amounts' | 'part'>) =>
      some.length === 0 ? undefined : this.#reservations.reserve({ model, kind, caps: some, ...call }, options);
    const reserved = await reserve(request.model, caps, { amounts }).catch(async (thrown: unknown) => {
      await moderation?.settle();
      throw thrown;
    });
    const use = new Use({ boundAttempt, findReasoning: (target) => this.#findReasoning(request, target) });
    const attempts = new AttemptReservations({
      ...{ model: request.model, reserved, use },
      reserveFallback: (model, most) => {
        const sum = isRepeatable ? addConsumption(most, most) : most;
        return reserve(model, capsOf.get(model) ?? [], { amounts: { requests: 1n, ...sum }, part: 'fallback' });
      },
    });
    const settle = async (requests: bigint): Promise<void> => {
      await Promise.all([attempts.settle(requests), moderation?.settle()]);
    };
    try {
      const { events, ...generation } = await router.generate(bounded.request, {
        ...options,
        admit: (...attempt) => attempts.admit(...attempt),
        onWhole: () => use.expectWhole(),
        onEvent: (event) => use.read(event),
        onFailedAttempt: (candidate, error) => use.addFailedAttempt(candidate, error),
        ...(moderation && { onModeration: moderation.count }),
        onEnd(end) {
          options.onEnd?.(end);
          use.add(end);
        },
      });
      const headers = { ...generation.headers, ...reserved?.headers };
      return { ...generation, headers, events: settleAtEnd(events, () => settle(1n)) };
    } catch (thrown) {
      use.addPending();
      // What a queue tries again counts once it is answered.
      await settle(queued && !isGivenUp(thrown, options.signal) ? 0n : 1n);
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
    const { amounts, boundAttempt } = boundEmbedding(request, this.#registry);
    const reserved = await this.#reservations.reserve({ model, kind: 'answers', caps, amounts }, options);
    const use = new Use({ boundAttempt });
    const attempts = new AttemptReservations({ model, reserved, use });
    try {
      const result = await next(request, {
        ...options,
        admit: (...attempt) => attempts.admit(...attempt),
        onFailedAttempt: (candidate, error) => use.addFailedAttempt(candidate, error),
        onEnd(end) {
          options.onEnd?.(end);
          use.add(end);
        },
      });
      return { ...result, headers: reserved?.headers ?? {} };
    } finally {
      use.addPending();
      await attempts.settle(1n);
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
    const amounts = onlyRequests(BigInt(texts));
    const reserved = await this.#reservations.reserve({ model, kind: 'answers', caps, amounts }, options);
    try {
      return { result: await next(), headers: reserved?.headers ?? {} };
    } finally {
      await reserved?.settle(amounts);
    }
  }

  /**
   * Reserves the moderation of a request and of its answer: each text or image counts as a request of the moderation model.
   * Returns undefined if that isn't limited.
   */
  async #reserveModeration(
    request: GenerationRequest,
    options: LimitedOptions,
  ): Promise<ReservedModeration | undefined> {
    if (request.moderation === undefined) return undefined;
    const { input, output } = request.moderation;
    const model = resolveModeration(request.moderation.model, this.#registry, 'moderation.model');
    // It takes no place in flight besides that of its call.
    const caps = listCaps(options.caller.policy, model, 'answers').filter(({ metric }) => metric === 'requests');
    if (caps.length === 0) return undefined;
    const { countContent } = await import('../safety/moderation/score-content.ts');
    const estimated = BigInt(
      (input === 'skip' ? 0 : countContent(request)) + (output === 'skip' ? 0 : MODERATED_ANSWER),
    );
    const call = { model, kind: 'answers', caps, part: 'fallback', amounts: onlyRequests(estimated) } as const;
    const reserved = await this.#reservations.reserve(call, options);
    let inputs = 0;
    return {
      count: (more) => {
        inputs += more;
      },
      settle: async () => reserved?.settle(onlyRequests(BigInt(inputs))),
    };
  }

  #findReasoning(request: GenerationRequest, target: Target): Reasoning {
    if (request.reasoningEffort === 'none' || !this.#getCapabilities(target).has('reasoning')) return 'never';
    return wantsReasoning(request) ? 'asked' : 'maybe';
  }
}

/** What was reserved for moderation within a call. */
interface ReservedModeration {
  /** Counts texts and images that are moderated. */
  readonly count: (inputs: number) => void;
  /** As `ReservedCall.settle`, with what was counted. */
  readonly settle: () => Promise<void>;
}

/** Texts of an answer that are expected to be moderated. */
const MODERATED_ANSWER = 1;

function onlyRequests(requests: bigint): Amounts {
  return { requests, ...NO_CONSUMPTION };
}

/** True if a call has ended because it was cancelled or timed out. */
function isGivenUp(thrown: unknown, { aborted }: AbortSignal): boolean {
  return aborted || (thrown instanceof LambentError && thrown.code === 'deadline_exceeded');
}

function findAnswerTokens({ policy }: Caller): number | undefined {
  const each = [policy.key, policy.project, policy.account].flatMap((level) => level?.limits?.answerTokens ?? []);
  return each.length === 0 ? undefined : Math.min(...each);
}

/** Passes events on, and settles when they end. The last one is passed on while that goes on. */
async function* settleAtEnd(
  events: AsyncIterable<GenerationEvent>,
  settle: () => Promise<void>,
): AsyncGenerator<GenerationEvent> {
  let settling: Promise<void> | undefined;
  let last: GenerationEvent | undefined;
  try {
    for await (const event of events) {
      if (event.type === 'finish') last = event;
      else yield event;
    }
    settling = settle();
    if (last !== undefined) yield last;
  } finally {
    await (settling ?? settle());
  }
}
