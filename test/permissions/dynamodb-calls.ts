/** A request's use of a table or an index, and the values of DynamoDB's condition keys. */
interface TableUse {
  /** `jobs`, or `jobs/index/due`. */
  readonly table: string;
  readonly context: Readonly<Record<string, readonly string[]>>;
}

type Item = Readonly<Record<string, { readonly S?: string }>>;

/** The parts of the inputs of all operations that contain keys, items and expressions. */
interface Input {
  readonly TableName?: string;
  readonly IndexName?: string;
  readonly Key?: Item;
  readonly Item?: Item;
  readonly RequestItems?: Readonly<Record<string, { readonly Keys: readonly Item[] } | readonly WriteRequest[]>>;
  readonly KeyConditionExpression?: string;
  readonly ExpressionAttributeNames?: Readonly<Record<string, string>>;
  readonly ExpressionAttributeValues?: Item;
}

interface WriteRequest {
  readonly PutRequest?: { readonly Item: Item };
  readonly DeleteRequest?: { readonly Key: Item };
}

/** Words of expressions that are no attribute names. */
const WORDS = new Set(
  'SET REMOVE ADD DELETE AND OR NOT IN BETWEEN size contains begins_with if_not_exists list_append attribute_exists attribute_not_exists'.split(
    ' ',
  ),
);

/**
 * Returns the tables that a request uses, with `dynamodb:LeadingKeys` and `dynamodb:Attributes`.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
 */
export function describeDynamoDB(input: object): TableUse[] {
  const { TableName = '', IndexName, RequestItems, ...request } = input as Input;
  if (RequestItems === undefined) {
    const key = request.Key ?? request.Item;
    const keys = key === undefined ? [] : [key];
    const leading = request.KeyConditionExpression === undefined ? readLeadingKeys(keys) : [readQueriedKey(request)];
    const attributes = [...keys.flatMap((each) => Object.keys(each)), ...listExpressionAttributes(request)];
    const table = IndexName === undefined ? TableName : `${TableName}/index/${IndexName}`;
    return [{ table, context: describe(leading, attributes) }];
  }
  return Object.entries(RequestItems).map(([table, requests]) => {
    const items: readonly Item[] =
      'Keys' in requests
        ? requests.Keys
        : requests.map(({ PutRequest, DeleteRequest }) => PutRequest?.Item ?? DeleteRequest?.Key ?? {});
    return {
      table,
      context: describe(
        readLeadingKeys(items),
        items.flatMap((item) => Object.keys(item)),
      ),
    };
  });
}

function describe(leadingKeys: readonly string[], attributes: readonly string[]): TableUse['context'] {
  return { 'dynamodb:LeadingKeys': leadingKeys, 'dynamodb:Attributes': [...new Set(attributes)] };
}

function readLeadingKeys(items: readonly Item[]): string[] {
  return items.map((item) => item['pk']?.S ?? '');
}

/** Returns the partition key of a query, whose condition begins with it. */
function readQueriedKey({ KeyConditionExpression = '', ExpressionAttributeValues = {} }: Input): string {
  const [, placeholder = ''] = /^#?\w+ = (:\w+)/.exec(KeyConditionExpression) ?? [];
  return ExpressionAttributeValues[placeholder]?.S ?? '';
}

/** Returns the top-level attributes in a request's expressions. */
function listExpressionAttributes({ ExpressionAttributeNames = {}, ...request }: Input): string[] {
  const expressions = Object.entries(request).flatMap(([name, value]) =>
    name.endsWith('Expression') ? String(value) : [],
  );
  // Neither a value (`:value`) nor a part of a path below the top (`leases.#id`).
  const names = expressions.flatMap((text) => text.match(/(?<![\w.:#])#?[A-Za-z_]\w*/g) ?? []);
  return names.filter((name) => !WORDS.has(name)).map((name) => ExpressionAttributeNames[name] ?? name);
}
