import fc from 'fast-check';

/** A request of DynamoDB's API, without the table's name. */
export interface Request {
  readonly operation: string;
  readonly input: object;
}

const some = fc.constantFrom;
/** Chooses the second, which makes a request invalid, once in forty times. */
const mostly = <T>(valid: fc.Arbitrary<T>, invalid: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 39, arbitrary: valid }, { weight: 1, arbitrary: invalid });
const text = some('', 'x', 'y', 'xyz', 'L', 'S');
const number = some('0', '1', '-3', '2.5', '10');
const value: fc.Arbitrary<object> = mostly(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ S: text }) },
    { weight: 4, arbitrary: fc.record({ N: number }) },
    some<object>({ BOOL: true }, { NULL: true }, { B: 'AAEC' }, { SS: ['x', 'y'] }, { NS: ['1', '2'] }),
    some<object>({ L: [] }, { M: {} }, { L: [{ N: '1' }, { S: 'x' }] }, { M: { b: { N: '1' }, size: { S: 'x' } } }),
  ),
  some<object>({ N: 'one' }, { SS: [] }, {}),
);
const key = fc.record({ pk: some({ S: 'p' }, { S: 'q' }), sk: some({ S: '1' }, { S: '2' }, { S: '21' }) });
const anyKey = mostly<object>(key, some({ pk: { S: 'p' } }, { pk: { N: '1' }, sk: { S: '' } }));
const attributes = fc.record(
  { a: some({ S: 'x' }, { S: 'y' }), n: fc.record({ N: number }), m: value, list: value, c: value },
  { requiredKeys: [] },
);

const NAMES = { '#a': 'a', '#n': 'n', '#m': 'm', '#s': 'size', '#odd': 'x.y-z' } as const;
const VALUES = [':v', ':w', ':x'] as const;

const path = mostly(
  some('a', '#n', 'n', 'm', '#m.b', 'm.#s', 'list', 'list[0]', 'list[1].b', 'c', '#odd'),
  some('m.size', 'pk', '#no'),
);
const placeholder = mostly<string>(some(...VALUES), some(':no'));
const operand = fc.oneof(
  { weight: 4, arbitrary: path },
  { weight: 4, arbitrary: placeholder },
  mostly(
    path.map((name) => `size(${name})`),
    some('size(:v)'),
  ),
);
const comparator = some('=', '<>', '<', '<=', '>', '>=');
const simpleCondition = fc.oneof(
  fc.tuple(operand, comparator, operand).map((parts) => parts.join(' ')),
  fc
    .tuple(mostly(some('attribute_exists', 'attribute_not_exists'), some('size', 'odd')), path)
    .map(([name, on]) => `${name}(${on})`),
  fc
    .tuple(some('begins_with', 'contains', 'attribute_type', 'Attribute_Type'), path, operand)
    .map(([name, on, other]) => `${name}(${on}, ${other})`),
  fc
    .tuple(operand, some('BETWEEN', 'between'), operand, operand)
    .map(([on, word, low, high]) => `${on} ${word} ${low} AND ${high}`),
  fc
    .tuple(path, fc.array(operand, { minLength: 1, maxLength: 3 }))
    .map(([on, list]) => `${on} IN (${list.join(', ')})`),
);
const condition = mostly(
  fc.oneof(
    { weight: 4, arbitrary: simpleCondition },
    fc.tuple(simpleCondition, some('AND', 'or'), simpleCondition).map((parts) => parts.join(' ')),
    simpleCondition.map((inner) => `NOT (${inner})`),
  ),
  fc.oneof(
    simpleCondition.map((inner) => `((${inner}))`),
    some('', 'a = ', 'a == :v'),
  ),
);
const assigned = fc.oneof(
  { weight: 4, arbitrary: some(...VALUES) },
  path,
  fc.tuple(path, some('+', '-'), operand).map((parts) => parts.join(' ')),
  fc.tuple(path, operand).map(([on, other]) => `if_not_exists(${on}, ${other})`),
  fc.tuple(operand, operand).map(([on, other]) => `list_append(${on}, ${other})`),
);
const section = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(path, assigned).map(([on, to]) => `SET ${on} = ${to}`) },
  fc.tuple(path, assigned, path, assigned).map(([on, to, on2, to2]) => `SET ${on} = ${to}, ${on2} = ${to2}`),
  path.map((on) => `REMOVE ${on}`),
  fc.tuple(some('ADD', 'DELETE'), path, some(...VALUES)).map((parts) => parts.join(' ')),
);
const update = fc.oneof(
  { weight: 3, arbitrary: section },
  fc.tuple(section, section).map((parts) => parts.join(' ')),
);
const keyCondition = fc.oneof(
  { weight: 2, arbitrary: some('pk = :v', '#a = :v', ':v = pk', 'n = :v') },
  fc
    .tuple(some('pk = :v', 'a = :v'), some('sk', 'n', '#n'), comparator)
    .map(([hash, on, is]) => `${hash} AND ${on} ${is} :w`),
  some('pk = :v AND begins_with(sk, :w)', 'pk = :v AND sk BETWEEN :w AND :x', 'a = :v AND n BETWEEN :w AND :x'),
);
const projection = mostly(some('a', 'm.b, a', '#m, list[1]'), some('a, a', 'size'));

/** Adds the placeholders that the expressions use, and rarely one more or one less. */
function withPlaceholders(input: fc.Arbitrary<object>): fc.Arbitrary<object> {
  return fc
    .record({
      input,
      values: fc.record({ ':v': value, ':w': value, ':x': value }),
      extra: fc.integer({ min: 0, max: 19 }),
    })
    .map(({ input, values, extra }) => {
      const expressions = Object.entries(input).flatMap(([name, used]) => (name.endsWith('Expression') ? [used] : []));
      const isUsed = ([name]: [string, unknown]) => new RegExp(`${name}(?![\\w])`).test(expressions.join(' '));
      const names = Object.entries(NAMES).filter((each) => isUsed(each) || (extra === 0 && each[0] === '#odd'));
      const used = Object.entries(values).filter((each) => isUsed(each) !== (extra === 1 && each[0] === ':x'));
      return {
        ...input,
        ...(names.length === 0 ? {} : { ExpressionAttributeNames: Object.fromEntries(names) }),
        ...(used.length === 0 ? {} : { ExpressionAttributeValues: Object.fromEntries(used) }),
      };
    });
}

const of = (operation: string, input: fc.Arbitrary<object>): fc.Arbitrary<Request> =>
  fc.record({ operation: fc.constant(operation), input: withPlaceholders(input) });
const optional = { requiredKeys: [] };
const capacity = some('INDEXES', 'TOTAL');
const Item = fc.tuple(anyKey, attributes).map((parts) => Object.assign({}, ...parts) as object);
const read = fc.record(
  { FilterExpression: condition, ProjectionExpression: projection, ReturnConsumedCapacity: capacity },
  optional,
);
const page = fc.record(
  {
    IndexName: mostly(some('local', 'all', 'some'), some('none')),
    Limit: mostly(some(1, 2), some(0)),
    ScanIndexForward: fc.boolean(),
  },
  optional,
);
const merge = (...parts: fc.Arbitrary<object>[]) =>
  fc.tuple(...parts).map((all) => Object.assign({}, ...all) as object);

/** Requests that read and change a few items, valid ones and others. */
export const anyRequest: fc.Arbitrary<Request> = fc.oneof(
  {
    weight: 3,
    arbitrary: of(
      'PutItem',
      merge(
        fc.record({ Item }),
        fc.record(
          { ConditionExpression: condition, ReturnValues: some('ALL_OLD'), ReturnConsumedCapacity: capacity },
          optional,
        ),
      ),
    ),
  },
  {
    weight: 6,
    arbitrary: of(
      'UpdateItem',
      merge(
        fc.record({ Key: anyKey, UpdateExpression: update }),
        fc.record(
          { ConditionExpression: condition, ReturnValues: some('ALL_NEW', 'UPDATED_OLD', 'UPDATED_NEW') },
          optional,
        ),
      ),
    ),
  },
  {
    weight: 1,
    arbitrary: of(
      'DeleteItem',
      merge(
        fc.record({ Key: anyKey }),
        fc.record({ ConditionExpression: condition, ReturnValues: some('ALL_OLD') }, optional),
      ),
    ),
  },
  {
    weight: 2,
    arbitrary: of(
      'GetItem',
      merge(fc.record({ Key: anyKey }), fc.record({ ProjectionExpression: projection }, optional)),
    ),
  },
  { weight: 4, arbitrary: of('Query', merge(fc.record({ KeyConditionExpression: keyCondition }), read, page)) },
  {
    weight: 1,
    arbitrary: of('Scan', merge(read, fc.record({ IndexName: some('all', 'some'), Limit: some(1, 2) }, optional))),
  },
);
