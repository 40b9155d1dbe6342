import { toLambentError } from '../core/errors.ts';
import { getOrCreate } from '../core/get-or-create.ts';
import { type AdaptedRequest, adaptRequest, collectStrictSchemas, type PromptOnly } from './adapt-request.ts';
import { type Candidate, findCandidates } from './candidates.ts';
import type { Capability } from './capabilities.ts';
import { type Accepted, type CallOptions, Failover, type FailoverOptions, FirstTokenTimeoutError } from './failover.ts';
import type { GenerationEvent, GenerationRequest } from './generation.ts';
import { limitCaching } from './limit-caching.ts';
import { type Model, UpstreamError } from './model.ts';
import { reportEnd, reportFailedAttempt } from './observe.ts';
import { limitOutput } from './output-limit.ts';
import type { Target } from './registry.ts';
import type { Try } from './strict-answer.ts';

/** A started answer. Its first event has arrived, so the request can't be retried any more. */
export interface Generation {
  /**
   * The complete answer, first event included. The last event is `finish`.
   * @throws LambentError if the answer ends before `finish`: the target's failure (`upstream_cut`), `deadline_exceeded`
   * or the reason of the caller's cancel
   */
  readonly events: AsyncIterable<GenerationEvent>;
  /** The caller's parameters that the target doesn't support and that the answer doesn't need; absent if none. */
  readonly ignored?: readonly string[];
  /**
   * True if the answer consists of `native` events, because the target got the original. `ignored` then has all parameters
   * without effect, those of the parser included.
   */
  readonly isNative?: boolean;
  /**
   * For strict schemas that the target doesn't enforce: `checked` if the answer was checked, or is checked at the end of its
   * stream, and `repeated` if only a second answer matched. Absent if nothing was to be checked.
   */
  readonly strict?: 'checked' | 'repeated';
  /** Further headers of the response. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface GenerateOptions extends CallOptions {
  /** Called with each event that a target sends, also if it is then held back or replaced. */
  readonly onEvent?: ((event: GenerationEvent) => void) | undefined;
  /** Called before texts and images, so many, are sent to a moderation model. */
  readonly onModeration?: ((inputs: number) => void) | undefined;
  /** Called when an attempt begins whose answer arrives only when all of it is made. */
  readonly onWhole?: (() => void) | undefined;
}

export interface Router {
  /**
   * Sends `request` to a target and waits for the first event. Until then, it retries and falls back to other targets.
   * @throws LambentError the failure of a target, or the reason why no target can serve the request
   */
  generate(request: GenerationRequest, options: GenerateOptions): Promise<Generation>;
}

export type RouterOptions = Omit<FailoverOptions<Model>, 'now' | 'random'> &
  Partial<Pick<FailoverOptions<Model>, 'now' | 'random'>>;

/** Creates the router of one environment. It caches the capabilities of each target. */
export function createRouter(options: RouterOptions): Router {
  const { registry, now = Date.now, random = Math.random } = options;
  const capabilities = new Map<Target, ReadonlySet<Capability>>();
  const getCapabilities = (target: Target): ReadonlySet<Capability> =>
    getOrCreate(capabilities, target, () => options.getCapabilities(target));
  const failover = new Failover({ ...options, getCapabilities, now, random });

  /** Sends the request, adapted to each target, until one begins to answer. */
  async function start(request: GenerationRequest, call: GenerateOptions): Promise<StartedTry> {
    const candidates = findCandidates(request, registry, getCapabilities);
    const { streamed, telemetry } = call;
    const accepted = await failover.call(request, candidates, call, async (candidate, model, signal) => {
      const adapted = adaptRequest(request, getCapabilities(candidate.target));
      const limited = limitCaching(limitOutput(adapted.request, candidate), candidate.alias);
      const promptOnly: PromptOnly = {
        format: model.asksForFormat?.(limited) === true,
        call: model.asksForCall?.(limited) === true,
      };
      const isEnforced = !promptOnly.format && !promptOnly.call && model.enforcesSchemas?.(limited) !== false;
      if (!isEnforced && candidate.alias.strictOutput === 'refuse') throw unenforcedError(limited, promptOnly);
      const unenforced = isEnforced ? adapted.unenforced : collectStrictSchemas(request, promptOnly);
      // The router can only check translated answers, and can only drop further tool calls from those.
      const sent = unenforced === undefined && !adapted.keepsFirstCall ? limited : omitOriginal(limited);
      const cancel = new AbortController();
      const firstToken =
        streamed && !model.answersAtOnce?.(sent)
          ? setTimeout(() => cancel.abort(new FirstTokenTimeoutError(candidate)), candidate.alias.firstTokenTimeoutMs)
          : undefined;
      if (!firstToken) call.onWhole?.();
      const either = AbortSignal.any([signal, cancel.signal]);
      const iterator = model.generate(sent, { signal: either, streamed, telemetry })[Symbol.asyncIterator]();
      try {
        const first = await iterator.next();
        if (first.done) throw missingFinishError();
        const isNative = first.value.type === 'native';
        const handling = isNative ? await describeNative(sent, model) : { unenforced };
        return { first: first.value, iterator, adapted: { ...adapted, ...handling }, isNative };
      } catch (thrown) {
        // A provider may report an abort as a closed connection: throw the abort's reason instead.
        throw signal.aborted ? signal.reason : cancel.signal.aborted ? cancel.signal.reason : thrown;
      } finally {
        clearTimeout(firstToken);
      }
    });
    const { adapted, isNative } = accepted.result;
    const events = completeAdaptation(streamAnswer(accepted, request.tenant, call), adapted, call);
    const { unenforced, ignored } = adapted;
    return { events, unenforced, ignored, isNative, candidate: accepted.candidate };
  }

  return {
    async generate(request, call) {
      const startedAt = now();
      const first = await start(request, call);
      const { events, ignored, isNative, candidate } = first;
      if (first.unenforced === undefined) return { events, ignored, isNative };
      // Imported here, because most requests need no validator.
      const { answerStrictly, checkStream } = await import('./strict-answer.ts');
      const isHeld = !call.streamed || call.heldBack === true || candidate.alias.strictOutput === 'hold';
      if (!isHeld) return { events: checkStream(first), ignored, strict: 'checked' };
      const deadlineAt = Math.min(call.deadlineAt, startedAt + candidate.alias.timeoutMs);
      // The second try is translated, too: a native answer would have another form than the first.
      const answer = await answerStrictly(first, () => start(omitOriginal(request), { ...call, deadlineAt }));
      return {
        events: yieldAll(answer.events),
        ignored: answer.from.ignored,
        strict: answer.isRepeated ? 'repeated' : 'checked',
      };
    },
  };

  /** Yields the answer from its first event on, and records how it ended. */
  async function* streamAnswer(
    { result: started, candidate, signal, managesOwnHealth, end }: Accepted<StartedAnswer>,
    tenant: string,
    { telemetry, onEvent, onEnd }: GenerateOptions,
  ): AsyncGenerator<GenerationEvent> {
    const startedAt = now();
    const breaker = failover.getBreaker(candidate);
    let finish: FinishEvent | undefined;
    try {
      for (let event = started.first; ; ) {
        if (event.type === 'finish') {
          finish = event;
          breaker.recordSuccess(tenant);
        }
        onEvent?.(event);
        yield event;
        if (finish !== undefined) return;
        const next = await started.iterator.next();
        if (next.done) throw missingFinishError();
        event = next.value;
      }
    } catch (thrown) {
      if (signal.aborted) throw toLambentError(signal.reason);
      const error = toLambentError(thrown);
      if (!managesOwnHealth) breaker.recordFailure(tenant, now());
      await reportFailedAttempt(telemetry, { candidate, error, ms: now() - startedAt });
      throw error;
    } finally {
      end();
      await started.iterator.return?.();
      const { usage, serviceTier } = finish ?? {};
      const ended = { candidate, usage, whole: finish !== undefined, serviceTier };
      onEnd?.(ended);
      await reportEnd(telemetry, ended);
    }
  }
}

/** An answer that has begun, and what its target ignores and doesn't enforce. */
interface StartedTry extends Try {
  readonly ignored: readonly string[];
  readonly isNative: boolean;
  readonly candidate: Candidate;
}

/** Does with the answer what the target could not do: keeps only the first tool call, and names the tier that served it. */
async function* completeAdaptation(
  events: AsyncIterable<GenerationEvent>,
  { keepsFirstCall, servedTier }: AdaptedRequest,
  { queued }: GenerateOptions,
): AsyncGenerator<GenerationEvent> {
  for await (const event of events) {
    if (keepsFirstCall && (event.type === 'toolCall' || event.type === 'toolArguments') && event.index > 0) continue;
    // Queued work is ordered by its tier, whatever its target offers.
    if (event.type === 'finish' && servedTier !== undefined && queued !== true)
      yield { ...event, serviceTier: servedTier };
    else yield event;
  }
}

async function* yieldAll(events: readonly GenerationEvent[]): AsyncGenerator<GenerationEvent> {
  yield* events;
}

type FinishEvent = Extract<GenerationEvent, { type: 'finish' }>;

interface StartedAnswer {
  readonly first: GenerationEvent;
  readonly adapted: AdaptedRequest;
  readonly isNative: boolean;
  readonly iterator: AsyncIterator<GenerationEvent>;
}

function omitOriginal({ original: _, ...request }: GenerationRequest): GenerationRequest {
  return request;
}

/** Returns how a native request was handled: it was not adapted, and its answer is not checked. */
async function describeNative(sent: GenerationRequest, { listIgnored }: Model) {
  const ignored = [...(sent.original?.ignored ?? []), ...((await listIgnored?.(sent)) ?? [])];
  return { ignored, servedTier: undefined };
}

/** The error for what the target would enforce only in part or not at all, if the alias accepts no check instead. */
function unenforcedError({ format, parameterNames }: GenerationRequest, promptOnly: PromptOnly): UpstreamError {
  const schema = promptOnly.format || (format.type === 'jsonSchema' && format.strict) ? 'format' : 'tools';
  const name = promptOnly.call ? 'toolChoice' : schema;
  const param = parameterNames[name] ?? name;
  const reason = promptOnly.call ? "can't be forced to use a tool" : "doesn't fully enforce the schema";
  const message = `Unsupported value: '${param}': this model ${reason}.`;
  return new UpstreamError('unsupported_value', message, { param, recovery: 'nextTarget' });
}

function missingFinishError(): UpstreamError {
  return new UpstreamError('upstream_cut', 'The upstream ended before it finished its answer', { recovery: 'retry' });
}
