import { expect, it } from 'vitest';
import { LambentError } from '../../../../shared/core/errors.ts';
import type { GenerationEvent } from '../../../../shared/inference/generation.ts';
import { type Moderation, mapCategories } from '../../../../shared/inference/moderation.ts';
import { GuardrailError } from '../../../../shared/safety/guardrail/guardrail-error.ts';
import { withModeration } from '../../../../shared/safety/moderation/moderation-router.ts';
import { makeRequest } from '../../inference/requests.ts';
import { FINISH, joinTexts, OPTIONS, stream } from '../answers.ts';

const CALL: GenerationEvent = { type: 'toolCall', index: 0, id: 'call_1', name: 'search' };
const KINDS: readonly (readonly [string, (text: string) => readonly GenerationEvent[]])[] = [
  ['text', (text) => [{ type: 'text', text }]],
  ['refusal', (text) => [{ type: 'refusal', text }]],
  ['reasoning', (text) => [{ type: 'reasoning', text }]],
  ['a record of reasoning', (text) => [{ type: 'reasoningEnd', details: [{ text }] }]],
  ['the name of a tool', (name) => [{ ...CALL, name }]],
  ['tool arguments', (fragment) => [CALL, { type: 'toolArguments', index: 0, fragment }]],
];

/** Returns the text of an event, without the space at its end. */
function readText(event: GenerationEvent): string {
  const details = event.type === 'reasoningEnd' ? event.details?.map(({ text }) => text) : [];
  return [joinTexts([event]), ...(event.type === 'toolCall' ? [event.name] : []), ...(details ?? [])].join('').trim();
}

const DOWN = new LambentError('upstream_unavailable', 'down');

/** Answers with events while a moderation model flags what has `bad`. Returns what passed, and what the model had seen when. */
async function moderate(
  events: readonly GenerationEvent[],
  onFailure: 'refuse' | 'pass',
  failure?: LambentError,
  output: 'score' | 'block' = 'block',
) {
  let seen = '';
  const router = withModeration(
    { model: 'moderator', input: 'score', output },
    {
      ...{ name: 'moderator', destination: { provider: 'bedrock', model: 'abc123' }, onFailure },
      load: async () => ({
        async moderate(inputs) {
          await new Promise((resolve) => setImmediate(resolve));
          if (failure !== undefined) throw failure;
          return inputs.map((parts): Moderation => {
            const text = parts.map((part) => ('text' in part ? part.text : '')).join('');
            seen += text;
            const flagged = text.includes('bad');
            const categories = mapCategories(() => flagged);
            return { flagged, categories, scores: mapCategories(() => 0), inputTypes: mapCategories(() => []) };
          });
        },
      }),
    },
    { generate: async () => ({ events: stream(events) }) },
  );
  const passed: { readonly event: GenerationEvent; readonly seen: string }[] = [];
  const { events: moderated } = await router.generate(makeRequest(), OPTIONS);
  for await (const event of moderated) passed.push({ event, seen });
  return passed;
}

it.each(KINDS)(
  '%s leaves once the moderation model has answered for it, and not at all if flagged',
  async (_kind, of) => {
    const events = [...of('first '), { type: 'text', text: 'then' } as const, ...of('second '), FINISH];
    const passed = await moderate(events, 'refuse');
    expect(passed.map(({ event }) => event.type)).toEqual(events.map(({ type }) => type));
    for (const { event, seen } of passed) expect(seen).toContain(readText(event));
    const flagged = await moderate([...of('so bad'), { type: 'text', text: 'then' }, FINISH], 'refuse');
    expect(flagged).toMatchObject([
      { event: { type: 'finish', reason: 'contentFilter', moderation: { output: { flagged: true } } } },
    ]);
  },
);

it('a complete answer that is flagged at its end keeps its usage', async () => {
  const usage = { inputTokens: 3, cachedInputTokens: 0, outputTokens: 2, reasoningTokens: 0 };
  const flagged = await moderate(
    [
      { type: 'text', text: 'so bad' },
      { ...FINISH, usage },
    ],
    'refuse',
  );
  expect(flagged).toMatchObject([{ event: { type: 'finish', reason: 'contentFilter', usage } }]);
});

it('an answer that can not be moderated is refused, or passes with the failure in its report if the setting says so', async () => {
  const events: readonly GenerationEvent[] = [{ type: 'text', text: 'so bad' }, FINISH];
  await expect(moderate(events, 'refuse', DOWN)).rejects.toMatchObject({ code: 'guardrail_unavailable' });
  const passed = await moderate(events, 'pass', DOWN);
  expect(passed.map(({ event }) => event)).toMatchObject([
    { type: 'text' },
    { type: 'finish', moderation: { output: { code: 'guardrail_unavailable' } } },
  ]);
});

it.each([
  ['has answered a part', new GuardrailError(true, {})],
  ['has exhausted its quota', new LambentError('rate_limit_exceeded', 'Slow down')],
])('an answer does not pass because a moderation model %s, whatever the setting says', async (_, failure) => {
  const answer = moderate([{ type: 'text', text: 'so bad' }, FINISH], 'pass', failure);
  await expect(answer).rejects.toMatchObject({ code: 'guardrail_unavailable' });
});

it('an answer is sent with the failure in its report if it is only to be scored', async () => {
  const passed = await moderate([{ type: 'text', text: 'so bad' }, FINISH], 'refuse', DOWN, 'score');
  expect(passed.map(({ event }) => event)).toMatchObject([
    { type: 'text' },
    { type: 'finish', moderation: { output: { code: 'guardrail_unavailable' } } },
  ]);
});
