import type { LambentError } from '../core/errors.ts';
import { estimateTokens } from '../core/token-estimate.ts';
import type { Candidate } from '../inference/candidates.ts';
import type { GenerationEvent } from '../inference/generation.ts';
import { UpstreamError } from '../inference/model.ts';
import type { EndedAnswer } from '../inference/observe.ts';
import type { Target } from '../inference/registry.ts';
import { type Amounts, addConsumption, type Consumption, NO_CONSUMPTION } from './caps.ts';
import { type BoundAttempt, computeUsedAmounts } from './estimate.ts';

/** Whether a target reasons before it answers a request: never, maybe, or as the request asks. */
export type Reasoning = 'never' | 'maybe' | 'asked';

export interface UseOptions {
  readonly boundAttempt: BoundAttempt;
  /** Default: no target reasons. */
  readonly findReasoning?: (target: Target) => Reasoning;
}

/**
 * What the attempts of a call have used. One that was cut off has no usage, but its upstream charges for what it has made until then:
 * the prompt and what it has sent, as estimated, also what a stage held back or refused, or the longest answer if it may have made that
 * out of sight.
 */
export class Use {
  readonly #boundAttempt: BoundAttempt;
  readonly #findReasoning: (target: Target) => Reasoning;
  /** The target of an attempt whose answer has not begun. */
  #waitsFor: Candidate | undefined;
  #arrivesWhole = false;
  /** Estimated tokens of the answer that its upstream has sent so far. */
  #outputTokens = 0;
  #showsReasoning = false;
  #sum = NO_CONSUMPTION;
  /** Of the attempts at targets of single models. */
  readonly #byModel = new Map<string, Consumption>();

  constructor({ boundAttempt, findReasoning = () => 'never' }: UseOptions) {
    this.#boundAttempt = boundAttempt;
    this.#findReasoning = findReasoning;
  }

  /** Returns the most that is used after one more attempt, in all or by the attempts of one model. */
  computeMost(candidate: Candidate, model?: string): Consumption {
    return addConsumption(this.#getSum(model), this.#boundAttempt(candidate).longest);
  }

  /** Notes that an attempt begins. */
  begin(candidate: Candidate): void {
    this.#waitsFor = candidate;
    this.#arrivesWhole = false;
  }

  /** Notes that the answer of the attempt arrives only when all of it is made. */
  expectWhole(): void {
    this.#arrivesWhole = true;
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
    const { longest } = this.#boundAttempt(end.candidate);
    const estimated = {
      inputTokens: Number(longest.inputTokens),
      outputTokens: this.#isHidden(end.candidate.target) ? Number(longest.outputTokens) : this.#outputTokens,
      cachedInputTokens: 0,
      reasoningTokens: 0,
    };
    this.#increase(computeUsedAmounts(end, end.usage ?? estimated), end.candidate.aliasName);
    this.#outputTokens = 0;
    this.#showsReasoning = false;
    this.#waitsFor = undefined;
  }

  /**
   * Adds what an attempt may have used that failed before its answer began, if its upstream may charge for it nevertheless: it was too
   * slow, the connection broke, or the answer can't be read. One that refused the request or could not be reached charges nothing.
   */
  addFailedAttempt(candidate: Candidate, error: LambentError): void {
    this.#waitsFor = undefined;
    if (mayHaveCharged(error)) this.#addLost(candidate);
  }

  /**
   * Adds what the attempt may have used during which a call has ended before an answer began, because it was cancelled or timed out.
   * Otherwise a caller could send any number of prompts, and cancel each.
   */
  addPending(): void {
    if (this.#waitsFor !== undefined) this.#addLost(this.#waitsFor);
    this.#waitsFor = undefined;
  }

  /** Returns what was used in all, or by the attempts at targets of one model. */
  computeTotal(requests: bigint, model?: string): Amounts {
    return { requests, ...this.#getSum(model) };
  }

  /** Adds an attempt without an answer. Its upstream may have made one that hadn't arrived. */
  #addLost(candidate: Candidate): void {
    const { prompt, longest } = this.#boundAttempt(candidate);
    const isHidden = this.#arrivesWhole || this.#isHidden(candidate.target);
    this.#increase(isHidden ? longest : prompt, candidate.aliasName);
  }

  #getSum(model: string | undefined): Consumption {
    return model === undefined ? this.#sum : (this.#byModel.get(model) ?? NO_CONSUMPTION);
  }

  /** True if a target may have reasoned without passing that on. Text follows the reasoning that wasn't asked for. */
  #isHidden(target: Target): boolean {
    const reasoning = this.#findReasoning(target);
    return reasoning === 'asked' ? !this.#showsReasoning : reasoning === 'maybe' && this.#outputTokens === 0;
  }

  #increase(used: Consumption, model: string): void {
    this.#sum = addConsumption(this.#sum, used);
    this.#byModel.set(model, addConsumption(this.#getSum(model), used));
  }
}

/** What Node reports if an upstream closes a connection on which it has a request. */
const BROKEN: ReadonlySet<string | undefined> = new Set(['ECONNRESET', 'EPIPE']);

/** A timeout with a status or an exception of the upstream is its own refusal. A stale connection took no request. */
function mayHaveCharged(error: LambentError): boolean {
  if (error.code === 'deadline_exceeded') return true;
  if (!(error instanceof UpstreamError)) return false;
  const { code, upstream, retryAfterMs } = error;
  if (code === 'upstream_timeout') return upstream === undefined;
  return code === 'upstream_cut' || code === 'upstream_malformed' || (BROKEN.has(upstream) && retryAfterMs !== 0);
}
