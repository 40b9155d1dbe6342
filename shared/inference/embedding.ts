import { newId } from '../core/ids.ts';
import type { Telemetry } from '../core/telemetry.ts';
import { findEmbeddingTargets } from './candidates.ts';
import { type CallOptions, Failover, type FailoverOptions } from './failover.ts';
import type { Callable } from './model.ts';
import { reportEnd } from './observe.ts';

/** The internal request for embeddings. Each provider translates it to its own format. */
export interface EmbeddingRequest {
  readonly tenant: string;
  /** An alias of `models.json` that has `embeddings`. */
  readonly model: string;
  /** 1 to 2048 texts or arrays of token ids. */
  readonly inputs: readonly EmbeddingInput[];
  /** Length of the vectors; absent for the model's own. */
  readonly dimensions?: number;
  /** How the caller wants the vectors. A provider asks for the same if its upstream offers both. */
  readonly encoding: 'float' | 'base64';
  /** The caller's `user`. Changes no vector. */
  readonly user?: string;
}

export type EmbeddingInput = string | readonly number[];

/** The numbers of an embedding: as parsed from JSON, or in single precision. */
export type Vector = readonly number[] | Float32Array;

export interface Embeddings {
  /** A vector per input, in the order of the inputs. */
  readonly vectors: readonly Vector[];
  readonly inputTokens: number;
}

/** The interface that every provider implements for one model that embeds. */
export interface Embedder extends Callable {
  /**
   * @throws UpstreamError for every failure; the abort reason if `call.signal` aborts
   */
  embed(request: EmbeddingRequest, call: EmbeddingCall): Promise<Embeddings>;
}

export interface EmbeddingCall {
  /** Aborts on a cancel or the deadline. */
  readonly signal: AbortSignal;
  readonly telemetry: Telemetry | undefined;
}

/** Embeds the inputs of a request. Throws LambentError: a target's failure, or why no target can serve the request. */
export type Embed = (request: EmbeddingRequest, options: Omit<CallOptions, 'streamed'>) => Promise<Embeddings>;

export type EmbeddingOptions = Omit<FailoverOptions<Embedder>, 'now' | 'random' | 'getCapabilities'> &
  Partial<Pick<FailoverOptions<Embedder>, 'now' | 'random'>>;

/** Creates the function that embeds by an alias's targets, with retries and a circuit breaker per target. */
export function createEmbed(options: EmbeddingOptions): Embed {
  const failover = new Failover({
    now: Date.now,
    random: Math.random,
    getCapabilities: () => NO_CAPABILITIES,
    ...options,
  });
  return async (request, call) => {
    const { telemetry } = call;
    const candidates = findEmbeddingTargets(request.model, newId(), options.registry);
    const accepted = await failover.call(request, candidates, { ...call, streamed: false }, (_, embedder, signal) =>
      embedder.embed(request, { signal, telemetry }),
    );
    accepted.end();
    const { candidate, result } = accepted;
    failover.getBreaker(candidate).recordSuccess(request.tenant);
    const usage = { inputTokens: result.inputTokens, cachedInputTokens: 0, outputTokens: 0, reasoningTokens: 0 };
    call.onEnd?.({ candidate, usage, whole: true });
    await reportEnd(telemetry, { candidate, usage, whole: true });
    return result;
  };
}

const NO_CAPABILITIES = new Set<never>();
