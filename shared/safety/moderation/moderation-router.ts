import { LambentError } from '../../core/errors.ts';
import type { GenerationEvent, GenerationRequest } from '../../inference/generation.ts';
import type { ModerationMode, ModerationOutcome, ModerationUse, Moderator } from '../../inference/moderation.ts';
import type { GenerateOptions, Router } from '../../inference/router.ts';
import { contentRefusedError } from '../content-refused-error.ts';
import { GuardrailError } from '../guardrail/guardrail-error.ts';
import { createGuardrailWatcher } from '../guardrail/guardrail-watcher.ts';
import { reportFailure } from '../guardrail/report-failure.ts';
import { holdBack } from '../hold-back.ts';
import { omitOriginal } from '../omit-original.ts';
import { reportHit } from '../report-hit.ts';
import type { Watcher } from '../watcher.ts';
import { countModerations } from './count-moderations.ts';
import type { ResolvedModerator } from './create-moderators.ts';
import { type Content, listContent, mergeModerations, scoreContent } from './score-content.ts';

type Call = Pick<GenerateOptions, 'signal' | 'telemetry' | 'onModeration'>;

/** Codes of failures of the model. Others are those of the request or of the configuration, which `onFailure: pass` never ignores. */
const OUTAGES: ReadonlySet<string> = new Set([
  ...['guardrail_unavailable', 'overloaded', 'rate_limit_exceeded', 'internal'],
  ...['upstream_unavailable', 'upstream_timeout', 'upstream_cut', 'upstream_malformed'],
]);
const UNAVAILABLE = 'The content of this request could not be moderated. Please try again later.';

/**
 * Returns a router that moderates requests and answers, and reports the results with the end of the answer. In the mode `block`,
 * flagged requests aren't sent, and each kind of text of an answer (reasoning, text, the arguments of a tool call) is held back
 * until the moderation model has answered for all of it. The router throws LambentError `content_filter` if the request is flagged,
 * and `guardrail_unavailable` if the model fails and its setting doesn't let content pass then. A request that is only to be
 * moderated isn't sent.
 */
export function withModeration(use: ModerationUse, moderator: ResolvedModerator, router: Router): Router {
  return {
    async generate(request, call) {
      const moderate = createModerate(moderator, call);
      const input =
        use.input === 'skip'
          ? Promise.resolve(use.inputResult ?? NOTHING)
          : moderate(() => listContent(request), 'input', use.input);
      if (use.input === 'block') {
        if (isFlagged(await input)) throw contentRefusedError();
        // A call that fails first doesn't wait for the result.
      } else input.catch(() => {});
      if (use.isAlone) return { events: reportInput(use.model, await input) };
      const generation = await router.generate(omitOriginal(request), call);
      if (use.output === 'skip') return generation;
      return {
        ...generation,
        events: reportResults(generation.events, request, { ...use, output: use.output }, input, moderate),
      };
    },
  };
}

type Moderate = (list: () => Content, side: 'input' | 'output', mode: ModerationMode) => Promise<ModerationOutcome>;

/** Returns the function that moderates content. It throws the reason of an abort, and in the mode `block` as the router does. */
function createModerate(resolved: ResolvedModerator, { signal, telemetry, onModeration }: Call): Moderate {
  const { name, load, onFailure } = resolved;
  return async (list, side, mode) => {
    try {
      const moderator = countModerations(await load(), resolved, telemetry);
      const moderate: Moderator['moderate'] = (inputs, signal) => {
        onModeration?.(inputs.length);
        return moderator.moderate(inputs, signal);
      };
      const result = await scoreContent({ moderate }, list(), signal);
      if (result.flagged && mode === 'block')
        reportHit(telemetry, { kind: 'moderation', rule: name, side, action: 'refuse' });
      return result;
    } catch (thrown) {
      signal.throwIfAborted();
      reportFailure(telemetry, name, thrown);
      const error = toModerationError(thrown);
      if (mode === 'block' && (onFailure === 'refuse' || !isDown(thrown))) throw error;
      return { code: error.code, message: error.code === 'unsupported_value' ? error.message : UNAVAILABLE };
    }
  };
}

function toModerationError(thrown: unknown): LambentError {
  if (!(thrown instanceof LambentError) || OUTAGES.has(thrown.code))
    return new LambentError('guardrail_unavailable', UNAVAILABLE, { cause: thrown });
  if (thrown.code !== 'unsupported_value') return thrown;
  return new LambentError(thrown.code, thrown.message.replace("'input'", "'moderation'"), { param: 'moderation' });
}

/** Returns whether a model is down. A quota that is exhausted doesn't count: callers can exhaust it, so that their content passes. */
function isDown(thrown: unknown): boolean {
  if (!(thrown instanceof LambentError)) return true;
  if (thrown instanceof GuardrailError) return !thrown.isReachable;
  return OUTAGES.has(thrown.code) && thrown.code !== 'rate_limit_exceeded';
}

/** The result for nothing, which isn't flagged. */
const NOTHING = mergeModerations([]);

async function* reportInput(model: string, input: ModerationOutcome): AsyncGenerator<GenerationEvent> {
  yield { type: 'finish', reason: 'stop', usage: undefined, moderation: { model, input, output: NOTHING } };
}

async function* reportResults(
  events: AsyncIterable<GenerationEvent>,
  { format }: GenerationRequest,
  { model, output: mode }: { readonly model: string; readonly output: ModerationMode },
  input: Promise<ModerationOutcome>,
  moderate: Moderate,
): AsyncGenerator<GenerationEvent> {
  const scoreOutput = (texts: readonly string[]) => moderate(() => ({ texts, images: [] }), 'output', mode);
  const outcomes: ModerationOutcome[] = [];
  const texts: string[] = [];
  const createWatcher = (): Watcher => {
    if (mode === 'score') return createCollector(texts);
    return createGuardrailWatcher({
      windowCharacters: Number.POSITIVE_INFINITY,
      overlapCharacters: 0,
      async check(text) {
        const outcome = await scoreOutput([text]);
        outcomes.push(outcome);
        return !isFlagged(outcome);
      },
    });
  };
  for await (const event of holdBack(events, createWatcher, format.type)) {
    if (event.type !== 'finish') {
      yield event;
      continue;
    }
    const output = mode === 'score' ? await scoreOutput(texts) : mergeOutcomes(outcomes);
    yield { ...event, moderation: { model, input: await input, output } };
  }
}

/** Returns a watcher that collects a text and holds nothing back. */
function createCollector(texts: string[]): Watcher {
  const index = texts.push('') - 1;
  return {
    push(text) {
      texts[index] += text;
    },
    end() {},
    heldFrom: Number.POSITIVE_INFINITY,
    isRefused: false,
  };
}

/** Returns the results of all texts as one: a failure, unless one is flagged. */
function mergeOutcomes(outcomes: readonly ModerationOutcome[]): ModerationOutcome {
  const results = outcomes.filter((each) => 'flagged' in each);
  const failure = outcomes.find((each) => 'code' in each);
  return failure !== undefined && !results.some(isFlagged) ? failure : mergeModerations(results);
}

function isFlagged(outcome: ModerationOutcome): boolean {
  return 'flagged' in outcome && outcome.flagged;
}
