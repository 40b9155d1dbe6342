import { LambentError } from '../../core/errors.ts';
import type { GenerationEvent, OutputFormat, ReasoningDetail } from '../../inference/generation.ts';
import { escapeJson, FragmentRestorer, keep, Restorer } from './restorer.ts';

type TextEvent = Extract<GenerationEvent, { readonly type: 'text' | 'refusal' | 'reasoning' }>;

/**
 * Yields the events of an answer with the values in the place of their placeholders: in texts, refusals, reasoning, and the
 * names and arguments of tool calls. Log probabilities are left out, because they are those of placeholders.
 * @param values the values by their placeholders
 * @param format of the text: JSON stays valid, whatever a value contains
 * @throws LambentError `internal` for a native event, which can't be restored
 */
export async function* restoreAnswer(
  events: AsyncIterable<GenerationEvent>,
  values: ReadonlyMap<string, string>,
  format: OutputFormat['type'],
): AsyncGenerator<GenerationEvent> {
  const restorer = new Restorer(values);
  /** The text that is being written: a placeholder doesn't continue after an event of another kind. */
  let open: { readonly type: TextEvent['type']; readonly fragments: FragmentRestorer } | undefined;
  /** The arguments of tool calls, by their index. They may go on until the end, because those of parallel calls may be interleaved. */
  const calls = new Map<number, FragmentRestorer>();

  function* endText(): Generator<GenerationEvent> {
    const text = open?.fragments.end() ?? '';
    if (open !== undefined && text !== '') yield { type: open.type, text };
    open = undefined;
  }
  function* endCalls(): Generator<GenerationEvent> {
    for (const [index, fragments] of calls) {
      const fragment = fragments.end();
      if (fragment !== '') yield { type: 'toolArguments', index, fragment };
    }
  }

  for await (const event of events) {
    switch (event.type) {
      case 'text':
      case 'refusal':
      case 'reasoning': {
        if (open?.type !== event.type) yield* endText();
        const write = event.type === 'text' && format !== 'text' ? escapeJson : keep;
        open ??= { type: event.type, fragments: new FragmentRestorer(restorer, write) };
        const text = open.fragments.push(event.text);
        if (text !== '') yield { type: event.type, text };
        break;
      }
      case 'toolArguments': {
        yield* endText();
        let fragments = calls.get(event.index);
        if (fragments === undefined) {
          fragments = new FragmentRestorer(restorer, escapeJson);
          calls.set(event.index, fragments);
        }
        const fragment = fragments.push(event.fragment);
        if (fragment !== '') yield { ...event, fragment };
        break;
      }
      case 'toolCall':
        yield* endText();
        yield { ...event, name: restorer.restore(event.name) };
        break;
      case 'reasoningEnd': {
        yield* endText();
        const { details } = event;
        yield details === undefined
          ? event
          : { ...event, details: restorer.restoreJson(details) as readonly ReasoningDetail[] };
        break;
      }
      case 'finish': {
        yield* endText();
        yield* endCalls();
        const { stopSequence } = event;
        yield stopSequence === undefined ? event : { ...event, stopSequence: restorer.restore(stopSequence) };
        break;
      }
      case 'native':
        throw new LambentError('internal', 'A native answer to a masked request');
    }
  }
}
