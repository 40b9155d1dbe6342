import { type Property, readTypes, type Shape } from './types.ts';

/** A JSON schema. */
export type Schema = Readonly<Record<string, unknown>>;

/** The JSON schemas of answers. */
export interface AnswerSchemas {
  /** By the names of the components. */
  readonly components: Readonly<Record<string, Schema>>;
  /** Of the administration, by route. Routes that only refuse have none. */
  readonly administration: Readonly<Record<string, Schema>>;
}

/**
 * Converts the types of `Answers` and `AdminAnswers` to JSON Schema. Where one contains an object with a name, it refers to it.
 * @throws Error if the types have errors, or two of their objects one name
 */
export function convertAnswerTypes(): AnswerSchemas {
  const source =
    "export type { Answers } from '../answers.ts'; export type { AdminAnswers } from '../admin-answers.ts';";
  using types = readTypes(import.meta.dirname, source);
  const named = listProperties(types.shapeOf('Answers'));
  const answers = listProperties(types.shapeOf('AdminAnswers')).filter(([, { kind }]) => kind !== 'none');
  const objects = nameObjects(answers.map(([, shape]) => shape));
  for (const [name] of named) if (objects.has(name)) throw new Error(`Two objects have the name ${name}`);
  const names = new Map([
    ...named.filter(([, { kind }]) => kind === 'object').map(([name, shape]) => [shape, name] as const),
    ...[...objects].map(([name, shape]) => [shape, name] as const),
  ]);
  return {
    components: Object.fromEntries(
      [...named, ...objects].map(([name, shape]) => [name, describe(shape, names, [])] as const),
    ),
    administration: Object.fromEntries(answers.map(([route, shape]) => [route, convert(shape, names, [])] as const)),
  };
}

function listProperties(type: Shape): (readonly [string, Shape])[] {
  if (type.kind !== 'object') throw new Error('The type is not an object');
  return type.properties().map(({ name, shape }) => [name, shape()] as const);
}

/**
 * Names the objects that answers and lists in them are, by their field `object`: `organization.project` is a `Project`. A list, and
 * an object with the same field as an earlier one, has no name.
 */
function nameObjects(answers: readonly Shape[]): ReadonlyMap<string, Shape> {
  const names = new Map<string, Shape>();
  for (const answer of answers.flatMap((shape) => [shape, ...listElements(shape)])) {
    const literals = listLiterals(answer).map((literal) => literal.replace(/^organization\./, ''));
    // One of several levels has the name of the organization's.
    const [literal] = literals.toSorted((one, other) => one.length - other.length);
    if (literal === undefined || UNNAMED.test(literal)) continue;
    const words = literal.split(/[._]/);
    const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
    if (!names.has(name)) names.set(name, answer);
  }
  return names;
}

const UNNAMED = /^(list|page)$|\.deleted$/;

/** Returns the shape of a list's objects. */
function listElements(shape: Shape): Shape[] {
  const data = findField(shape, 'data');
  return data?.kind === 'array' ? [data.element()] : [];
}

/** Returns the texts that the field `object` may be. */
function listLiterals(shape: Shape): string[] {
  const field = findField(shape, 'object');
  const options = field?.kind === 'union' ? field.members() : [field];
  return options.flatMap((option) =>
    option?.kind === 'literal' && typeof option.value === 'string' ? [option.value] : [],
  );
}

function findField(shape: Shape, name: string): Shape | undefined {
  if (shape.kind !== 'object') return undefined;
  return shape
    .properties()
    .find((property) => property.name === name)
    ?.shape();
}

/** Returns the schema of a shape, or a reference to it if it has a name. @param above the shapes that contain this one */
function convert(shape: Shape, names: ReadonlyMap<Shape, string>, above: readonly Shape[]): Schema {
  const name = names.get(shape);
  return name === undefined ? describe(shape, names, above) : { $ref: `#/components/schemas/${name}` };
}

/** Like `convert`, but without a reference to the shape itself. One that contains itself is described once. */
function describe(shape: Shape, names: ReadonlyMap<Shape, string>, above: readonly Shape[]): Schema {
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
    ...(members.length > 0 ? { properties: Object.fromEntries(members.map(toEntry)) } : {}),
    ...(required.length > 0 ? { required } : {}),
    ...(others === undefined ? {} : { additionalProperties: within(others) }),
  };
}

/** Literals become one list, as long as they are of one type. */
function uniteShapes(members: readonly Shape[], within: (shape: Shape) => Schema): Schema {
  const literals = members.flatMap((member) => (member.kind === 'literal' ? [member.value] : []));
  const others = members.filter(({ kind }) => kind !== 'literal').map(within);
  const plain = others.map(({ type, ...rest }) => (Object.keys(rest).length === 0 ? type : undefined));
  if (literals.length === 0 && plain.every((type) => typeof type === 'string'))
    return { type: plain.length === 1 ? plain[0] : plain };
  const options = literals.length > 0 ? [{ enum: literals }, ...others] : others;
  return options.length === 1 ? (options[0] ?? {}) : { anyOf: options };
}
