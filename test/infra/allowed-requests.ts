import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { Template } from '../../infra/template.ts';
import { type DynamoDBRequest, describeDynamoDBRequest } from './dynamodb-request.ts';
import { listStatements } from './packaged.ts';

/** Adds the requests of a client to `requests`. */
export function observe({ middlewareStack }: DynamoDBClient, requests: DynamoDBRequest[]): void {
  middlewareStack.add(
    (next, { commandName = '' }) =>
      (args) => {
        requests.push(...describeDynamoDBRequest(commandName, Object(args.input)));
        return next(args);
      },
    { step: 'initialize' },
  );
}

type Conditions = Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;

/** Returns whether a statement of the role allows a request to one of the stack's tables. */
export function isAllowed(
  template: Template,
  role: string,
  table: string,
  { action, context }: DynamoDBRequest,
): boolean {
  return listTableStatements(template, role, table).some(
    ({ actions, conditions }) => actions.includes(action) && holds(conditions, context),
  );
}

/** Returns the partition keys that a role may access in a table, as patterns: `key#*`. Throws if a statement permits others. */
export function listLeadingKeys(template: Template, role: string, table: string, action: string): string[] {
  return listTableStatements(template, role, table)
    .filter(({ actions }) => actions.includes(action))
    .flatMap(({ conditions }) => {
      const keys = conditions['ForAllValues:StringLike']?.['dynamodb:LeadingKeys'];
      if (keys === undefined) throw new Error(`${role} may access all keys of ${table}`);
      return [keys].flat();
    });
}

function listTableStatements(template: Template, role: string, table: string) {
  return listStatements(template)
    .filter(({ where }) => where.startsWith(`${role}/`))
    .filter(({ statement: { Resource } }) => Object(Resource)['Fn::GetAtt']?.[0] === table)
    .map(({ statement: { Action, Condition = {} } }) => ({
      actions: [Action].flat().map(String),
      conditions: Condition as Conditions,
    }));
}

/** Evaluates conditions on the two keys of DynamoDB. @throws Error for another operator */
function holds(conditions: Conditions, context: DynamoDBRequest['context']): boolean {
  return Object.entries(conditions).every(([operator, keys]) =>
    Object.entries(keys).every(([key, wanted]) => {
      const values = context[key as keyof typeof context];
      const matchesAny = (value: string) => [wanted].flat().some((pattern) => matches(pattern, value));
      if (operator === 'ForAllValues:StringNotLike') return values.every((value) => !matchesAny(value));
      if (!['ForAllValues:StringLike', 'ForAllValues:StringEquals'].includes(operator)) throw new Error(operator);
      return values.every(matchesAny);
    }),
  );
}

/** Returns whether a pattern of `StringLike` whose only asterisk is at its end matches a value. */
export function matches(pattern: string, value: string): boolean {
  return pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : value === pattern;
}
