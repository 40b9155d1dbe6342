import { type Property, readTypes, type Shape } from './types.ts';

/** A JSON schema. */
type Schema = Readonly<Record<string, unknown>>;

/**
 * Converts the types of `Answers` to JSON Schema. Where one contains another of them, it refers to it.
 * @returns the components' JSON schemas, by name
 * @throws Error if the types have errors
 */
export function convertAnswerTypes(): Record<string, Schema> {
  using types = readTypes(import.meta.dirname, "export type { Answers } from '../answers.ts';");
  const answers = types.shapeOf('Answers');
  if (answers.kind !== 'object') throw new Error('Answers is not an interface');
  const named = answers.properties().map(({ name, shape }) => [name, shape()] as const);
  const names = new Map(named.filter(([, { kind }]) => kind === 'object').map(([name, shape]) => [shape, name]));
  return Object.fromEntries(named.map(([name, shape]) => [name, convert(shape, names, [])]));
}

/** @param above the shapes that contain this one. One that contains itself is described once */
function convert(shape: Shape, names: ReadonlyMap<Shape, string>, above: readonly Shape[]): Schema {
  const name = above.length === 0 ? undefined : names.get(shape);
  if (name !== undefined) return { $ref: `#/components/schemas/${name}` };
  if (above.includes(shape)) return {};
  const within = (inner: Shape): Schema => convert(inner, names, [...above, shape]);
  switch (shape.kind) {
    case 'array':
      return { type: 'array', items: within(shape.element()) };
    case 'literal':
      return { const: shape.value };
    case 'object':
      return convertObject(shape, within);
    case 'union':
      return uniteShapes(shape.members(), within);
    case 'none':
    case 'unknown':
      return {};
    default:
      return { type: shape.kind };
  }
}

function convertObject(shape: Extract<Shape, { kind: 'object' }>, within: (shape: Shape) => Schema): Schema {
  const members = shape.properties().filter((member) => member.shape().kind !== 'none');
  const others = shape.others();
  const toEntry = ({ name, shape: of }: Property): [string, Schema] => [name, within(of())];
  // What a value may leave out as undefined is not in its JSON.
  const required = members.filter(({ optional }) => !optional).map(({ name }) => name);
  return {
    type: 'object',
    properties: Object.fromEntries(members.map(toEntry)),
    ...(required.length > 0 ? { required } : {}),
    ...(others === undefined ? {} : { additionalProperties: within(others) }),
  };
}

/** Literals become one list, as long as they are of one type. */
function uniteShapes(members: readonly Shape[], within: (shape: Shape) => Schema): Schema {
  const literals = members.flatMap((member) => (member.kind === 'literal' ? [member.value] : []));
  const others = members.filter(({ kind }) => kind !== 'literal').map(within);
  const options = literals.length > 0 ? [{ enum: literals }, ...others] : others;
  return options.length === 1 ? (options[0] ?? {}) : { anyOf: options };
}
