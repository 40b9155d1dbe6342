/** One metric's values, one per period; undefined for a period without data. */
export type Series = readonly (number | undefined)[];

/**
 * Returns the values of an expression of CloudWatch's metric math. Supports the parts that the template uses: `FILL`,
 * `SUM` of a list, the four arithmetic operators, numbers and ids. As in CloudWatch, a period without data and a division
 * by 0 have no result.
 * @throws Error for any other syntax
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
 */
export function evaluate(expression: string, metrics: Readonly<Record<string, Series>>): Series {
  const tokens = expression.match(/[A-Za-z_]\w*|\d+(?:\.\d+)?|[-+*/(),[\]]/g) ?? [];
  const periods = Math.max(...Object.values(metrics).map((series) => series.length));
  let at = 0;

  const next = (): string => {
    const token = tokens[at];
    if (token === undefined) throw new Error(`${expression} ends unexpectedly`);
    at += 1;
    return token;
  };
  const take = (wanted: string): void => {
    const token = next();
    if (token !== wanted) throw new Error(`${expression} has ${token} instead of ${wanted}`);
  };
  const evaluateOperators = (
    operand: () => Series,
    operators: Readonly<Record<string, (a: number, b: number) => number>>,
  ) => {
    let left = operand();
    for (;;) {
      const operator = operators[tokens[at] ?? ''];
      if (operator === undefined) return left;
      at += 1;
      const right = operand();
      left = left.map((value, index) => dropInfinite(combine(value, right[index], operator)));
    }
  };
  const evaluateSum = (): Series => evaluateOperators(evaluateProduct, { '+': (a, b) => a + b, '-': (a, b) => a - b });
  const evaluateProduct = (): Series =>
    evaluateOperators(evaluateFactor, { '*': (a, b) => a * b, '/': (a, b) => a / b });
  const evaluateFactor = (): Series => {
    const token = next();
    if (/^\d/.test(token)) return Array.from({ length: periods }, () => Number(token));
    if (token === 'FILL') return evaluateFill();
    if (token === 'SUM') return evaluateList((a, b) => a + b);
    const series = metrics[token];
    if (series === undefined) throw new Error(`${expression} refers to the unknown metric ${token}`);
    return series;
  };
  const evaluateFill = (): Series => {
    take('(');
    const series = evaluateSum();
    take(',');
    const by = next();
    take(')');
    if (by !== 'REPEAT') return series.map((value) => value ?? Number(by));
    let last: number | undefined;
    return series.map((value) => {
      last = value ?? last;
      return last;
    });
  };
  const evaluateList = (operator: (a: number, b: number) => number): Series => {
    take('(');
    take('[');
    const all = [evaluateSum()];
    while (tokens[at] === ',') {
      at += 1;
      all.push(evaluateSum());
    }
    take(']');
    take(')');
    return Array.from({ length: periods }, (_, index) =>
      all.map((series) => series[index]).reduce((result, value) => combine(result, value, operator)),
    );
  };

  const result = evaluateSum();
  if (at < tokens.length) throw new Error(`${expression} has tokens after its end`);
  return result;
}

function combine(
  a: number | undefined,
  b: number | undefined,
  operator: (a: number, b: number) => number,
): number | undefined {
  return a === undefined || b === undefined ? undefined : operator(a, b);
}

function dropInfinite(value: number | undefined): number | undefined {
  return value === undefined || !Number.isFinite(value) ? undefined : value;
}
