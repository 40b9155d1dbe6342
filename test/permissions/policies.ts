import type { Template } from '../../infra/template.ts';
import { findByType } from '../infra/packaged.ts';

/** A call to AWS, as IAM sees it. */
export interface AwsCall {
  /** Such as `dynamodb:GetItem`. */
  readonly action: string;
  /** ARN; `*` if the action supports no resource. */
  readonly resource: string;
  /** The values of condition keys. */
  readonly context: Readonly<Record<string, readonly string[]>>;
}

/** One action on one resource that a statement of a role allows. */
export interface Grant {
  /** Logical id, such as `ChatRole`. */
  readonly role: string;
  readonly sid: string;
  readonly action: string;
  /** ARN, which may have wildcards. */
  readonly resource: string;
  readonly conditions: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
}

/** Returns the value of `Ref` or `Fn::GetAtt` (`Name.Arn`). */
export type Resolve = (reference: string) => string;

/**
 * Returns the grants of every role that functions have: those of managed policies, and of keys' policies that name one role,
 * included. The vault key's policy only restricts what roles' own policies allow.
 * @throws Error for a statement that `isAllowed` would not evaluate as IAM does: a denial, or an unknown operator
 */
export function listGrants(template: Template, resolve: Resolve): Grant[] {
  const ofRoles = findByType(template, 'AWS::IAM::Role').flatMap(({ id: role, properties }) => {
    const { Policies, ManagedPolicyArns = [] } = Object(properties);
    const managed = [ManagedPolicyArns].flat().map(({ Ref }) => Object(template.Resources[Ref]?.Properties));
    const policies: { PolicyDocument: { Statement: Statement[] } }[] = [...Policies, ...managed];
    return policies.flatMap(({ PolicyDocument }) => PolicyDocument.Statement.flatMap(toGrants.bind(null, role)));
  });
  const ofKeys = findByType(template, 'AWS::KMS::Key').flatMap(({ id, properties }) =>
    [Object(properties['KeyPolicy']).Statement].flat().flatMap(({ Principal, ...statement }) => {
      const [role] = Object(Principal).AWS?.['Fn::GetAtt'] ?? [];
      return role === undefined ? [] : toGrants(role, { ...statement, Resource: { 'Fn::GetAtt': [id, 'Arn'] } });
    }),
  );
  return [...ofRoles, ...ofKeys];

  function toGrants(role: string, { Sid = '', Effect, Action, Resource, Condition = {}, ...rest }: Statement): Grant[] {
    const unknown = [...Object.keys(rest), ...Object.keys(Condition).filter((operator) => !(operator in OPERATORS))];
    if (Effect !== 'Allow' || unknown.length > 0) throw new Error(`${role}/${Sid} is not supported: ${unknown}`);
    const conditions = Object.fromEntries(
      Object.entries(Condition).map(([operator, keys]) => [
        operator,
        Object.fromEntries(Object.entries(keys).map(([key, values]) => [key, [values].flat().map(toText)])),
      ]),
    );
    const resources = [Resource].flat().map(toText);
    return [Action]
      .flat()
      .flatMap((action) => resources.map((resource) => ({ role, sid: Sid, action, resource, conditions })));
  }

  function toText(value: unknown): string {
    if (typeof value === 'string') return value;
    const { Ref, 'Fn::GetAtt': attribute, 'Fn::Sub': pattern } = Object(value);
    if (Array.isArray(attribute)) return resolve(attribute.join('.'));
    if (typeof Ref === 'string') return resolve(Ref);
    if (typeof pattern === 'string') return pattern.replaceAll(/\$\{([\w:.]+)\}/g, (_, name: string) => resolve(name));
    throw new Error(`Can't resolve ${JSON.stringify(value)}`);
  }
}

interface Statement {
  readonly Sid?: string;
  readonly Effect: string;
  readonly Action: string | readonly string[];
  readonly Resource: unknown;
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** True if a grant allows a call, as IAM evaluates its action, resource and conditions. */
export function isAllowed(grant: Grant, { action, resource, context }: AwsCall): boolean {
  return (
    grant.action === action &&
    matches(grant.resource, resource) &&
    Object.entries(grant.conditions).every(([operator, keys]) =>
      Object.entries(keys).every(([key, wanted]) => OPERATORS[operator]?.(wanted, context[key]) === true),
    )
  );
}

type Operator = (wanted: readonly string[], actual: readonly string[] | undefined) => boolean;

/**
 * The condition operators that the policies use.
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
 */
const OPERATORS: Readonly<Record<string, Operator>> = {
  StringEquals: (wanted, actual = []) => actual.some((value) => wanted.includes(value)),
  ArnEquals: (wanted, actual = []) => actual.some((value) => wanted.some((pattern) => matches(pattern, value))),
  'ForAnyValue:StringEquals': (wanted, actual = []) => actual.some((value) => wanted.includes(value)),
  // These are true as well if the request doesn't have the key.
  'ForAllValues:StringEquals': (wanted, actual = []) => actual.every((value) => wanted.includes(value)),
  'ForAllValues:StringLike': (wanted, actual = []) =>
    actual.every((value) => wanted.some((pattern) => matches(pattern, value))),
  'ForAllValues:StringNotLike': (wanted, actual = []) =>
    actual.every((value) => !wanted.some((pattern) => matches(pattern, value))),
  Null: ([wanted], actual) => String(actual === undefined) === wanted,
};

function matches(pattern: string, text: string): boolean {
  const source = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 's').test(text);
}
