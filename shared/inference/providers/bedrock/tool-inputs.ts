import { isObject } from '../../../core/objects.ts';

/**
 * Lists the inputs of an answer's tool calls, in order, each as JSON text. They are read from the body of the response,
 * because the SDK loses a member named `__proto__`.
 * @param body the body of a Converse response
 * @see https://github.com/smithy-lang/smithy-typescript (`JsonShapeDeserializer2`, where `writeKey` clears the value)
 */
export function readToolInputs(body: string): string[] {
  const answer: unknown = JSON.parse(body, keepNumber as Parameters<typeof JSON.parse>[1]);
  const content = readPath(answer, 'output', 'message', 'content');
  return (Array.isArray(content) ? content : []).flatMap((block) => {
    const toolUse = readPath(block, 'toolUse');
    return isObject(toolUse) ? [JSON.stringify(toolUse['input'] ?? {})] : [];
  });
}

function readPath(value: unknown, ...names: readonly string[]): unknown {
  return names.reduce<unknown>((inner, name) => (isObject(inner) ? inner[name] : undefined), value);
}

/** Node 24 has it; TypeScript's library doesn't yet. */
const { rawJSON } = JSON as unknown as { rawJSON: (text: string) => unknown };

/** A reviver that keeps a number that JavaScript would write in other digits. */
function keepNumber(_name: string, value: unknown, { source }: { source?: string }): unknown {
  return typeof value === 'number' && source !== undefined && String(value) !== source ? rawJSON(source) : value;
}
