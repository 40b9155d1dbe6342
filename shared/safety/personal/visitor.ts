import { LambentError } from '../../core/errors.ts';
import { isJson } from '../../core/is-json.ts';

/** Where a text of a request is. */
export interface TextPlace {
  /** The caller's parameter, for error messages. */
  readonly param: string;
  /** The name of the field in JSON whose value the text is. Names such as `password` show what a value is. */
  readonly field?: string;
  /** True for a name or id, which has few characters and must stay the same wherever it appears. */
  readonly isName?: true;
  /** True for reasoning with a record of its upstream. It keeps the placeholders that the model got. */
  readonly isOfModel?: true;
  /** True for a signature or encrypted content, in which values other than credentials are matches by chance. */
  readonly isOpaque?: true;
  /** True for a whole text that may be JSON, with escapes in its values. */
  readonly mayBeJson?: true;
  /** True within a JSON schema. The values of some of its keywords are names. */
  readonly isSchema?: true;
}

/** Returns what replaces a text. */
export type VisitText = (text: string, place: TextPlace) => string;

/** Keywords of JSON schemas whose numbers are bounds. */
const BOUNDS = /^(?:m(?:in|ax)(?:imum|Length|Items|Properties)|exclusiveM(?:in|ax)imum|multipleOf)$/;
/** Keywords of JSON schemas whose values aren't free text: types, formats, references, and names of properties. */
const KEYWORDS: ReadonlySet<string> = new Set([
  ...['type', 'format', 'required', 'contentEncoding', 'contentMediaType'],
  ...['$schema', '$id', '$ref', '$anchor', '$dynamicRef', '$dynamicAnchor'],
]);
/** Keywords of JSON schemas whose values are no schemas, but values that these describe. */
const DATA: ReadonlySet<string> = new Set(['const', 'default', 'enum', 'example', 'examples']);
/** The depth up to which the body of a request is accepted. Deeper values can't be searched without a risk for the stack. */
const MAX_DEPTH = 256;

/**
 * Returns a JSON value with its texts and field names replaced, and the numbers that change as texts.
 * @throws LambentError `invalid_value` if it is nested deeper than 256 levels
 */
export function mapJsonValue<Value>(value: Value, visit: VisitText, place: TextPlace): Value;
export function mapJsonValue(value: unknown, visit: VisitText, place: TextPlace): unknown {
  return mapValue(value, visit, place, 0);
}

function mapValue(value: unknown, visit: VisitText, place: TextPlace, depth: number): unknown {
  if (depth > MAX_DEPTH) throw tooDeepError(place);
  if (typeof value === 'string') return visit(value, place);
  if (typeof value === 'number') {
    if (BOUNDS.test(place.field ?? '')) return value;
    const visited = visit(String(value), place);
    return visited === String(value) ? value : visited;
  }
  if (Array.isArray(value)) return value.map((each) => mapValue(each, visit, place, depth + 1));
  if (typeof value !== 'object' || value === null) return value;
  const { param } = place;
  return Object.fromEntries(
    Object.entries(value).map(([field, each]) => [
      visit(field, { param, isName: true }),
      mapValue(each, visit, toFieldPlace(place, field), depth + 1),
    ]),
  );
}

function toFieldPlace({ param, isSchema }: TextPlace, field: string): TextPlace {
  if (isSchema !== true || DATA.has(field)) return { param, field };
  return { param, isSchema, ...(KEYWORDS.has(field) ? { isName: true } : { field }) };
}

function tooDeepError({ param }: TextPlace): LambentError {
  const message = `Invalid value: '${param}' is nested too deeply to be searched for personal data: at most ${MAX_DEPTH} levels are accepted.`;
  return new LambentError('invalid_value', message, { param });
}

/** The strings and numbers of a JSON text. Each alternative begins with a character that ends the others. */
const LITERALS = /"(?:[^"\\]|\\[\s\S])*"|-?\d[\d.eE+-]*/g;

/**
 * Returns a JSON text with its strings and numbers replaced, and everything else as it is. Numbers that change become
 * strings. A text that isn't JSON is visited as a whole.
 */
export function mapJsonText(text: string, visit: VisitText, { param }: TextPlace): string {
  if (!isJson(text)) return visit(text, { param });
  let field: string | undefined;
  return text.replace(LITERALS, (literal, index: number) => {
    const isString = literal.startsWith('"');
    const value: string = isString ? JSON.parse(literal) : literal;
    const isField = isString && /^\s*:/.test(text.slice(index + literal.length, index + literal.length + 64));
    if (isField) field = value;
    const visited = visit(value, isField ? { param, isName: true } : { param, ...(field !== undefined && { field }) });
    return visited === value ? literal : JSON.stringify(visited);
  });
}
