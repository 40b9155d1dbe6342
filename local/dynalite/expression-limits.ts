import db from 'dynalite/db/index.js';
import validations from 'dynalite/validations/index.js';

const EXPRESSIONS = [
  'UpdateExpression',
  'ConditionExpression',
  'KeyConditionExpression',
  'FilterExpression',
  'ProjectionExpression',
] as const;
type ExpressionName = (typeof EXPRESSIONS)[number];

/** A request, as far as it has expressions. */
export type ExpressionRequest = { readonly [name in ExpressionName]?: string | undefined } & {
  readonly ExpressionAttributeNames?: Readonly<Record<string, string>> | undefined;
  readonly ExpressionAttributeValues?: Readonly<Record<string, object>> | undefined;
};

/** Of each expression as it is sent, with placeholders. */
const MAX_BYTES = 4_096;
/** Of each expression. */
const MAX_OPERATORS = 300;
const MAX_IN_OPERANDS = 100;
/** Of each placeholder, with its `#` or `:`. */
const MAX_PLACEHOLDER_BYTES = 255;
/** Of all names and values that placeholders stand for. */
const MAX_SUBSTITUTED_BYTES = 2 * 1024 * 1024;

/** Keywords and functions are no placeholders. Assignments in updates are no operators, and neither are parentheses. */
const OPERATORS = /<>|<=|>=|[<>=]|(?<![#:\w])(?:(?:AND|OR|NOT|IN|BETWEEN)\b|\w+(?=\s*\())/gi;
const UPDATE_OPERATORS = /[+-]|(?<![#:\w])\w+(?=\s*\()/g;
/** An operand may be a call of `size`. */
const OPERANDS = /(?<![#:\w])IN\s*\(((?:[^()]|\([^()]*\))*)\)/gi;

/**
 * Makes dynalite refuse expressions that are too large for DynamoDB. dynalite itself takes expressions of any size. Replaces a
 * function of dynalite's own modules.
 */
export function limitExpressions(): void {
  const { validateExpressions } = validations;
  validations.validateExpressions = (request) =>
    // The sizes of values are known only once they have been validated.
    findExcess(request) ?? validateExpressions(request) ?? findExcessOfSubstitutes(request);
}

/**
 * Returns DynamoDB's message about the first limit that a request's expressions exceed, undefined if they exceed none.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-expression-parameters
 * @see https://github.com/scylladb/scylladb/blob/master/test/alternator/test_limits.py whose tests, which also run on DynamoDB, show
 * that the limit on operators is one of all expressions, and counts `AND` and `<`, but no parentheses
 */
export function findExcess(request: ExpressionRequest): string | undefined {
  for (const name of EXPRESSIONS) {
    const excess = findExcessOf(name, request[name] ?? '');
    if (excess !== undefined) return `Invalid ${name}: ${excess}`;
  }
  const { ExpressionAttributeNames: names = {}, ExpressionAttributeValues: values = {} } = request;
  const long = Object.keys({ ...names, ...values }).find((each) => Buffer.byteLength(each) > MAX_PLACEHOLDER_BYTES);
  if (long !== undefined) return `A placeholder of an expression has more than ${MAX_PLACEHOLDER_BYTES} bytes: ${long}`;
  return undefined;
}

function findExcessOfSubstitutes(request: ExpressionRequest): string | undefined {
  const { ExpressionAttributeNames: names = {}, ExpressionAttributeValues: values = {} } = request;
  const bytesOfNames = Object.values(names).reduce((sum, each) => sum + Buffer.byteLength(each), 0);
  return bytesOfNames + db.itemSize(values) > MAX_SUBSTITUTED_BYTES
    ? 'ExpressionAttributeValues exceeds max size'
    : undefined;
}

function findExcessOf(name: ExpressionName, text: string): string | undefined {
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_BYTES) return `Expression size has exceeded the maximum allowed size; expression size: ${bytes}`;
  const operators = text.match(name === 'UpdateExpression' ? UPDATE_OPERATORS : OPERATORS) ?? [];
  // The AND of BETWEEN is part of it.
  const count = operators.length - operators.filter((each) => /^between$/i.test(each)).length;
  if (count > MAX_OPERATORS) return `The expression contains too many operators; operator count: ${count}`;
  const most = Math.max(0, ...[...text.matchAll(OPERANDS)].map(([, operands = '']) => operands.split(',').length));
  if (most > MAX_IN_OPERANDS) return `The IN operator is provided with too many operands; number of operands: ${most}`;
  return undefined;
}
