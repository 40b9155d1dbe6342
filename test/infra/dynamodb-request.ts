import type { Item } from '../../shared/aws/attributes.ts';

/** A request to DynamoDB, as IAM sees it. */
export interface DynamoDBRequest {
  /** Such as `dynamodb:UpdateItem`. */
  readonly action: string;
  readonly table: string;
  /** The values of the condition keys that IAM compares. */
  readonly context: {
    readonly 'dynamodb:LeadingKeys': readonly string[];
    readonly 'dynamodb:Attributes': readonly string[];
  };
}

/** The fields of a command's input that decide. */
interface Input {
  readonly TableName?: string;
  readonly Key?: Item;
  readonly Item?: Item;
  readonly UpdateExpression?: string;
  readonly ConditionExpression?: string;
  readonly ExpressionAttributeNames?: Readonly<Record<string, string>>;
  readonly ExpressionAttributeValues?: Item;
  readonly RequestItems?: Readonly<Record<string, RequestedItems>>;
}

type RequestedItems = { readonly Keys?: readonly Item[] } | readonly Write[];

interface Write {
  readonly PutRequest?: { readonly Item?: Item };
  readonly DeleteRequest?: { readonly Key?: Item };
}

/** Words and functions of expressions, which name no attribute. */
const WORDS =
  /^(SET|REMOVE|ADD|DELETE|AND|OR|NOT|BETWEEN|IN|size|if_not_exists|list_append|begins_with|contains)$|^attribute_/;

/**
 * Describes a request for IAM. A query's leading key is the value `:pk` of its condition.
 * @param command name of the SDK's command, such as `UpdateItemCommand`
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
 */
export function describeDynamoDBRequest(command: string, input: Input): DynamoDBRequest[] {
  const action = `dynamodb:${command.replace(/Command$/, '')}`;
  if (input.RequestItems !== undefined) {
    return Object.entries(input.RequestItems).map(([table, items]) => {
      const keys = toItems(items);
      return { action, table, context: toContext(keys, keys.flatMap(Object.keys)) };
    });
  }
  const { TableName: table = '', Key, Item, ExpressionAttributeValues = {} } = input;
  const item = Key ?? Item ?? { pk: ExpressionAttributeValues[':pk'] ?? { S: '' } };
  return [{ action, table, context: toContext([item], [...Object.keys(item), ...listNamed(input)]) }];
}

function toItems(requested: RequestedItems): readonly Item[] {
  if ('Keys' in requested) return requested.Keys ?? [];
  const writes = requested as readonly Write[];
  return writes.map(({ PutRequest, DeleteRequest }) => PutRequest?.Item ?? DeleteRequest?.Key ?? {});
}

function toContext(items: readonly Item[], attributes: readonly string[]): DynamoDBRequest['context'] {
  return {
    'dynamodb:LeadingKeys': items.map(({ pk }) => pk?.S ?? ''),
    'dynamodb:Attributes': [...new Set(attributes)],
  };
}

/** Returns the attributes that expressions name: of a path, the first part. */
function listNamed({
  UpdateExpression = '',
  ConditionExpression = '',
  ExpressionAttributeNames = {},
}: Input): string[] {
  const paths = `${UpdateExpression} ${ConditionExpression}`.match(/(?<![:\w#.])[#\w]+/g) ?? [];
  return paths
    .filter((path) => !WORDS.test(path) && !/^\d/.test(path))
    .map((path) => ExpressionAttributeNames[path] ?? path);
}
