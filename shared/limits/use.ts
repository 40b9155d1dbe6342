import { LambentError } from '../core/errors.ts';
import { estimateTokens } from '../core/token-estimate.ts';
import type { Candidate } from '../inference/candidates.ts';
import type { GenerationEvent } from '../inference/generation.ts';
import { UpstreamError } from '../inference/model.ts';
import type { EndedAnswer } from '../inference/observe.ts';
import type { Target } from '../inference/registry.ts';
import type { Amounts } from './caps.ts';
import { type BoundedRequest, computeUsedAmounts } from './estimate.ts';

type Used = Omit<Amounts, 'requests'>;

/** Whether a target reasons before it answers a request: never, maybe, or as the request asks. */
export type Reasoning = 'never' | 'maybe' | 'asked';

const NOTHING: Used = { inputTokens: 0n, outputTokens: 0n, spend: 0n };

/**
 * What the answers of a call have used. An answer that was cut off has no usage, but its upstream charges for what it has made
 * until then: the prompt and what it has sent, as estimated, also what a stage held back or refused, or the longest answer if it may have reasoned out of sight.
 */
export class Use {
  readonly #bounds: Pick<BoundedRequest, 'prompt' | 'longest'>;
  readonly #findReasoning: (target: Target) => Reasoning;
  /** Estimated tokens of the answer that its upstream has sent so far. */
  #outputTokens = 0;
  #showsReasoning = false;
  #sum = NOTHING;
  /** Of the answers of single models. */
  readonly #byModel = new Map<string, Used>();

  constructor(
    bounds: Pick<BoundedRequest, 'prompt' | 'longest'>,
    findReasoning: (target: Target) => Reasoning = () => 'never',
  ) {
    this.#bounds = bounds;
    this.#findReasoning = findReasoning;
  }

  /** Counts an event that an upstream sends. */
  read(event: GenerationEvent): void {
    if (event.type === 'reasoning') this.#showsReasoning = true;
    if ('text' in event) this.#outputTokens += estimateTokens(event.text);
    else if ('fragment' in event) this.#outputTokens += estimateTokens(event.fragment);
    else if (event.type === 'native') this.#outputTokens += estimateTokens(JSON.stringify(event.event));
  }

  /** Adds an answer that has ended. */
  add(end: EndedAnswer): void {
    const { prompt, longest } = this.#bounds;
    const estimated = {
      inputTokens: Number(prompt.inputTokens),
      outputTokens: this.#isHidden(end.candidate.target) ? Number(longest.outputTokens) : this.#outputTokens,
      cachedInputTokens: 0,
      reasoningTokens: 0,
    };
    this.#increase(computeUsedAmounts(end, end.usage ?? estimated), [end.candidate.aliasName]);
    this.#outputTokens = 0;
    this.#showsReasoning = false;
  }

  /**
   * Adds the estimated prompt of an attempt that ended before its answer began, if its upstream may charge for it nevertheless: it
   * was too slow, or the connection broke. One that refused the request or could not be reached charges nothing.
   */
  addFailedAttempt(candidate: Candidate, error: LambentError): void {
    if (!mayHaveCharged(error)) return;
    const inputTokens = Number(this.#bounds.prompt.inputTokens);
    const usage = { inputTokens, outputTokens: 0, cachedInputTokens: 0, reasoningTokens: 0 };
    this.#increase(computeUsedAmounts({ candidate, usage, whole: false }, usage), [candidate.aliasName]);
  }

  /**
   * Adds the estimated prompt of a call that was cancelled or timed out before its answer began. Otherwise a caller could send any
   * number of prompts, and cancel each. Returns whether it was such a call.
   * @param targets those that may have been called, by their model
   */
  addIfGivenUp(
    thrown: unknown,
    { aborted }: AbortSignal,
    targets: ReadonlyMap<string, readonly Target[]> = new Map(),
  ): boolean {
    const isGivenUp = aborted || (thrown instanceof LambentError && thrown.code === 'deadline_exceeded');
    const isHidden = [...targets.values()].flat().some((target) => this.#isHidden(target));
    if (isGivenUp) this.#increase(isHidden ? this.#bounds.longest : this.#bounds.prompt, [...targets.keys()]);
    return isGivenUp;
  }

  /** Returns what was used in all, or by the answers of one model. */
  computeTotal(requests: bigint, model?: string): Amounts {
    return { requests, ...(model === undefined ? this.#sum : (this.#byModel.get(model) ?? NOTHING)) };
  }

  /** True if a target may have reasoned without passing that on. Text follows the reasoning that wasn't asked for. */
  #isHidden(target: Target): boolean {
    const reasoning = this.#findReasoning(target);
    return reasoning === 'asked' ? !this.#showsReasoning : reasoning === 'maybe' && this.#outputTokens === 0;
  }

  #increase(used: Used, models: readonly string[]): void {
    this.#sum = addUsed(this.#sum, used);
    for (const model of models) this.#byModel.set(model, addUsed(this.#byModel.get(model) ?? NOTHING, used));
  }
}

/** What Node reports if an upstream closes a connection on which it has a request. */
const BROKEN: ReadonlySet<string | undefined> = new Set(['ECONNRESET', 'EPIPE']);

/** A timeout with a status or an exception of the upstream is its own refusal. A stale connection took no request. */
function mayHaveCharged(error: LambentError): boolean {
  if (!(error instanceof UpstreamError)) return false;
  const { code, upstream, retryAfterMs } = error;
  if (code === 'upstream_timeout') return upstream === undefined;
  return code === 'upstream_cut' || (BROKEN.has(upstream) && retryAfterMs !== 0);
}

function addUsed(a: Used, b: Used): Used {
  return {
    inputTokens: a.inputTokens + b.inputTokens,
    outputTokens: a.outputTokens + b.outputTokens,
    spend: a.spend + b.spend,
  };
}
