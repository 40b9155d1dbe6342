import type { ResponseOutputItem } from 'openai/resources/responses/responses';
import { encodeTypedFrame } from '../../wire/sse.ts';
import type { OutputEvent } from './item-builders.ts';
import type { ResponseObject } from './response.ts';

/**
 * Encodes a response that has ended as the frames of a response stream, as if it were generated now. Each text, refusal and
 * list of arguments is one delta.
 */
export function encodeStoredResponse(response: ResponseObject): string[] {
  const inProgress = {
    ...response,
    status: 'in_progress',
    output: [],
    completed_at: null,
    incomplete_details: null,
    error: null,
  };
  const events = [
    { type: 'response.created', response: inProgress },
    { type: 'response.in_progress', response: inProgress },
    ...response.output.flatMap(createItemEvents),
    { type: `response.${response.status}`, response },
  ];
  return events.map((event, sequence_number) => encodeTypedFrame({ ...event, sequence_number }));
}

function createItemEvents(item: ResponseOutputItem, output_index: number): OutputEvent[] {
  return [
    { type: 'response.output_item.added', output_index, item: toStartedItem(item) },
    ...createContentEvents(item, output_index),
    { type: 'response.output_item.done', output_index, item },
  ];
}

function toStartedItem(item: ResponseOutputItem): ResponseOutputItem {
  switch (item.type) {
    case 'message':
      return { ...item, status: 'in_progress', content: [] };
    case 'function_call':
      return { ...item, status: 'in_progress', arguments: '' };
    case 'custom_tool_call':
      return { ...item, input: '' };
    case 'reasoning':
      return { ...item, summary: [] };
    default:
      return item;
  }
}

function createContentEvents(item: ResponseOutputItem, output_index: number): OutputEvent[] {
  switch (item.type) {
    case 'message':
      return item.content.flatMap((part, content_index): OutputEvent[] => {
        const fields = { item_id: item.id, output_index, content_index };
        const added = 'response.content_part.added';
        const done = { type: 'response.content_part.done', ...fields, part } as const;
        if (part.type === 'refusal') {
          const { refusal } = part;
          return [
            { type: added, ...fields, part: { ...part, refusal: '' } },
            { type: 'response.refusal.delta', ...fields, delta: refusal },
            { type: 'response.refusal.done', ...fields, refusal },
            done,
          ];
        }
        const { text, logprobs = [] } = part;
        return [
          { type: added, ...fields, part: { ...part, text: '', logprobs: [] } },
          { type: 'response.output_text.delta', ...fields, delta: text, logprobs },
          { type: 'response.output_text.done', ...fields, text, logprobs },
          done,
        ];
      });
    case 'function_call': {
      const { name, arguments: text } = item;
      const fields = { item_id: item.id ?? '', output_index };
      // The API sends the name too, but the client's type lacks it.
      const done = { type: 'response.function_call_arguments.done', ...fields, name, arguments: text } as const;
      return [{ type: 'response.function_call_arguments.delta', ...fields, delta: text }, done];
    }
    case 'custom_tool_call': {
      const { id = '', input } = item;
      const fields = { item_id: id, output_index };
      return [
        { type: 'response.custom_tool_call_input.delta', ...fields, delta: input },
        { type: 'response.custom_tool_call_input.done', ...fields, input },
      ];
    }
    case 'reasoning':
      return item.summary.flatMap((part, summary_index): OutputEvent[] => {
        const fields = { item_id: item.id, output_index, summary_index };
        const { text } = part;
        return [
          { type: 'response.reasoning_summary_part.added', ...fields, part: { ...part, text: '' } },
          { type: 'response.reasoning_summary_text.delta', ...fields, delta: text },
          { type: 'response.reasoning_summary_text.done', ...fields, text },
          { type: 'response.reasoning_summary_part.done', ...fields, part },
        ];
      });
    default:
      return [];
  }
}
