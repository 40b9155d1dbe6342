import type { Message, OutputFormat, TextPart } from './generation.ts';

type JsonFormat = Exclude<OutputFormat, { readonly type: 'text' }>;

/** Returns the instruction that asks a model for a format which its API can't enforce. */
export function writeJsonInstruction(format: JsonFormat): string {
  if (format.type === 'json') return 'Answer with one JSON object, and with nothing else.';
  const { description, schema } = format;
  return [
    'Answer with one JSON value that matches this JSON schema, and with nothing else.',
    ...(description === undefined ? [] : [description]),
    JSON.stringify(schema),
  ].join('\n');
}

/** Appends an instruction to the system prompt. */
export function appendInstruction(messages: readonly Message[], text: string): Message[] {
  const part: TextPart = { type: 'text', text };
  const [first, ...others] = messages;
  if (first?.role !== 'system') return [{ role: 'system', content: [part] }, ...messages];
  return [{ ...first, content: [...first.content, part] }, ...others];
}
