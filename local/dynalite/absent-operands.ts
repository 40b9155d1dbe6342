import validations from 'dynalite/validations/index.js';

/** A path, a value, a call of `size`, or a condition. */
type Node = readonly unknown[] | { readonly type?: string; readonly name?: string; readonly args?: readonly Node[] };

/**
 * Makes dynalite evaluate conditions and filters as DynamoDB does if an operand is an attribute that the item lacks: `<>`
 * is true, and each other comparison, `BETWEEN`, `IN` and `begins_with` is false. dynalite's process ends for some of
 * them, and two absent attributes are equal. Replaces a function of dynalite's own modules.
 * @see https://github.com/scylladb/scylladb/blob/master/alternator/conditions.cc whose tests also run on DynamoDB
 */
export function evaluateAbsentOperands(): void {
  const { validateExpressions } = validations;
  validations.validateExpressions = (request) => {
    const problem = validateExpressions(request);
    // Conditions on keys are no part of this: dynalite doesn't evaluate them.
    for (const parsed of [request._condition, request._filter])
      if (parsed !== undefined) parsed.expression = rewrite(parsed.expression);
    return problem;
  };
}

/** Returns a condition that dynalite evaluates as DynamoDB evaluates the given one. */
function rewrite(node: unknown): Node {
  const { type, name, args = [] } = node as Exclude<Node, readonly unknown[]>;
  const [operand = [], ...others] = args;
  switch (type === 'function' ? name : type) {
    case 'and':
    case 'or':
    case 'not':
      return { type: `${type}`, args: args.map(rewrite) };
    case '=':
    case '<':
    case '<=':
    case '>':
    case '>=':
      return and(exists(operand), node as Node);
    case '<>':
      return { type: 'not', args: [and(exists(operand), { type: '=', args })] };
    case 'between': {
      const [low = [], high = []] = others;
      return and(exists(operand), and({ type: '>=', args: [operand, low] }, { type: '<=', args: [operand, high] }));
    }
    case 'in':
      return and(
        exists(operand),
        others
          .map((other): Node => ({ type: '=', args: [operand, other] }))
          .reduce((left, right) => ({ type: 'or', args: [left, right] })),
      );
    case 'begins_with':
      // dynalite looks for a prefix in values of other types, too.
      return and({ type: 'or', args: ['S', 'B'].map((type) => hasType(operand, type)) }, node as Node);
    default:
      return node as Node;
  }
}

const and = (left: Node, right: Node): Node => ({ type: 'and', args: [left, right] });
const exists = (operand: Node): Node => ({ type: 'function', name: 'attribute_exists', args: [operand] });
const hasType = (operand: Node, S: string): Node => ({
  ...{ type: 'function', name: 'attribute_type' },
  args: [operand, { S } as Node],
});
