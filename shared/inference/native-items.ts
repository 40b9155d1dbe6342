import { isObject } from '../core/objects.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Returns a native event of OpenAI's Responses API with its output items replaced by `map`: the event's item, or the items
 * of its response. An event may also be a whole response. Any other event is returned as it is.
 */
export function mapOutputItems(event: Fields, map: (item: Fields) => Fields): Fields {
  const { item, response, output } = event;
  if (isObject(item)) return { ...event, item: map(item) };
  if (isObject(response) && Array.isArray(response['output']))
    return { ...event, response: { ...response, output: response['output'].map((each) => mapItem(each, map)) } };
  return Array.isArray(output) ? { ...event, output: output.map((each) => mapItem(each, map)) } : event;
}

function mapItem(item: unknown, map: (item: Fields) => Fields): unknown {
  return isObject(item) ? map(item) : item;
}
