import { BoundedMap } from '../../shared/core/bounded-map.ts';

/** What dynalite passes to its parsers with an expression's text. */
export interface ParseContext {
  /** `ExpressionAttributeNames`. */
  readonly attrNames?: Readonly<Record<string, string>>;
  /** `ExpressionAttributeValues`. */
  readonly attrVals?: Readonly<Record<string, object>>;
  /** Placeholders that no expression of the request has used. A parser deletes those that it resolves. */
  readonly unusedAttrNames: Record<string, true>;
  readonly unusedAttrVals: Record<string, true>;
}

export interface Parser {
  /**
   * Returns the expression's tree, which contains the objects of `attrVals`, or the message of a fault in its meaning.
   * @throws SyntaxError of the parser's own class
   */
  parse(text: string, options: { context: ParseContext }): unknown;
}

interface Parsed {
  /** The tree with `Value`s in place of values. */
  readonly template: unknown;
  readonly usedNames: readonly string[];
  readonly usedValues: readonly string[];
}

/** Stands in a cached tree for the value of a placeholder. */
class Value {
  readonly placeholder: string;

  constructor(placeholder: string) {
    this.placeholder = placeholder;
  }
}

const MAX_EXPRESSIONS = 1_000;

/** The only parts of expressions for which the parsers look at values themselves, not just at their types. */
const CHECKS_VALUES = /between|attribute_type/i;

/**
 * Makes a parser return a copy of its earlier result for the same text, names and types of values. Parsing is much of the work
 * of a request, and programs send few expressions, with ever new values. Expressions with a fault are parsed each time.
 */
export function cacheExpressions(parser: Parser): void {
  const { parse } = parser;
  const cache = new BoundedMap<string, Parsed>(MAX_EXPRESSIONS);
  parser.parse = (text, options) => {
    const { context } = options;
    if (CHECKS_VALUES.test(text)) return parse(text, options);
    const key = describe(text, context);
    let parsed = cache.get(key);
    if (parsed === undefined) {
      const result = parseAlone(parse, text, context);
      if (typeof result === 'string') return result;
      cache.set(key, result);
      parsed = result;
    }
    for (const name of parsed.usedNames) delete context.unusedAttrNames[name];
    for (const name of parsed.usedValues) delete context.unusedAttrVals[name];
    // A copy each time, because dynalite changes trees while it evaluates them.
    return fill(parsed.template, context.attrVals ?? {});
  };
}

function describe(text: string, { attrNames = {}, attrVals = {} }: ParseContext): string {
  // A value has exactly one type, or dynalite would have refused it.
  const types = Object.entries(attrVals).map(([placeholder, value]) => [placeholder, Object.keys(value)[0]]);
  return JSON.stringify([text, attrNames, types]);
}

/** Parses an expression as if its request had no other, which shows the placeholders that it uses. */
function parseAlone(parse: Parser['parse'], text: string, context: ParseContext): Parsed | string {
  const { attrNames = {}, attrVals = {} } = context;
  const unusedAttrNames = markUnused(attrNames);
  const unusedAttrVals = markUnused(attrVals);
  const tree = parse(text, { context: { ...context, unusedAttrNames, unusedAttrVals } });
  if (typeof tree === 'string') return tree;
  const placeholders = new Map(Object.entries(attrVals).map(([placeholder, value]) => [value, new Value(placeholder)]));
  return {
    template: toTemplate(tree, placeholders),
    usedNames: Object.keys(attrNames).filter((name) => !(name in unusedAttrNames)),
    usedValues: Object.keys(attrVals).filter((name) => !(name in unusedAttrVals)),
  };
}

const markUnused = (placeholders: object): Record<string, true> =>
  Object.fromEntries(Object.keys(placeholders).map((name) => [name, true as const]));

function toTemplate(node: unknown, placeholders: ReadonlyMap<unknown, Value>): unknown {
  return placeholders.get(node) ?? copy(node, (child) => toTemplate(child, placeholders));
}

function fill(node: unknown, values: Readonly<Record<string, object>>): unknown {
  return node instanceof Value ? values[node.placeholder] : copy(node, (child) => fill(child, values));
}

function copy(node: unknown, copyChild: (child: unknown) => unknown): unknown {
  if (Array.isArray(node)) return node.map(copyChild);
  if (typeof node !== 'object' || node === null) return node;
  // The parsers use objects without a prototype where any attribute's name may be a key.
  const copied: Record<string, unknown> = Object.create(Object.getPrototypeOf(node));
  for (const [key, child] of Object.entries(node)) copied[key] = copyChild(child);
  return copied;
}
