import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GetRoleCommand, IAMClient, paginateSimulatePrincipalPolicy } from '@aws-sdk/client-iam';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { isAccessDenied } from '../aws-error.ts';
import { createError, createWarning, type Finding, listResources, type PreflightInput } from './finding.ts';

/** A statement of a policy in `infra/operate/deployer/`. */
interface Statement {
  readonly Action: readonly string[];
  readonly Resource: readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;
}

const FOLDER = join(import.meta.dirname, '../deployer');

/**
 * Asks IAM whether the caller has the permissions of the deployer's policies. A caller who may not ask gets a warning.
 */
export async function checkPermissions(input: PreflightInput): Promise<readonly Finding[]> {
  const { region, clientConfig, template } = input;
  const iam = new IAMClient({ ...clientConfig, region });
  const { Arn = '', Account = '' } = await new STSClient({ ...clientConfig, region }).send(
    new GetCallerIdentityCommand(),
  );
  // IAM does not simulate the root user, who may do everything.
  if (Arn.endsWith(':root')) return [];
  const has = (type: string): boolean => listResources(template, type).length > 0;
  const policies = [
    ...['stack', 'data'],
    ...(has('AWS::ECS::Service') ? ['gpu'] : []),
    ...(has('AWS::Lambda::CapacityProvider') ? ['managed'] : []),
    ...(has('AWS::ApiGateway::DomainName') || has('AWS::WAFv2::WebACL') ? ['edge'] : []),
  ];
  try {
    const principal = await findPrincipal(iam, Arn);
    const statements = (await Promise.all(policies.map(readStatements))).flat();
    const missing = new Set<string>();
    // One after the other, because IAM throttles early.
    for (const statement of statements)
      for (const action of await simulate(iam, principal, fillIn(statement, input, Account))) missing.add(action);
    if (missing.size === 0) return [];
    const files = policies.map((name) => `infra/operate/deployer/${name}.json`).join(', ');
    return [
      createError(
        `${principal} lacks permissions without which the deployment would fail half-way: ${[...missing].sort().join(', ')}.`,
        `Attach the policies of ${files} to it (docs/deploy.md#the-permissions-of-a-deployer), or use other credentials.`,
      ),
    ];
  } catch (thrown) {
    if (!isAccessDenied(thrown)) throw thrown;
    return [
      createWarning(
        'The permissions of these credentials were not checked, because they may not use iam:SimulatePrincipalPolicy or iam:GetRole.',
        'Allow both to check them, or deploy without this check.',
      ),
    ];
  }
}

/** Returns the ARN that IAM simulates: of a session, that of its role, which may have a path that the session's lacks. */
async function findPrincipal(iam: IAMClient, arn: string): Promise<string> {
  const [, RoleName] = /:assumed-role\/([^/]+)\//.exec(arn) ?? [];
  if (RoleName === undefined) return arn;
  const { Role } = await iam.send(new GetRoleCommand({ RoleName }));
  return Role?.Arn ?? arn;
}

async function readStatements(name: string): Promise<readonly Statement[]> {
  return JSON.parse(await readFile(join(FOLDER, `${name}.json`), 'utf8')).Statement;
}

/** Replaces the asterisks of a statement by values of this stage, because IAM simulates concrete requests. */
function fillIn(
  { Action, Resource, Condition = {} }: Statement,
  { region, stackName }: PreflightInput,
  account: string,
) {
  const fill = (pattern: string): string =>
    pattern
      .replace(/^arn:aws:([^:]+):\*:\*:/, `arn:aws:$1:${region}:${account}:`)
      .replace(/^arn:aws:([^:]+):\*::/, `arn:aws:$1:${region}::`)
      .replace('arn:aws:iam::*:', `arn:aws:iam::${account}:`)
      .replace(/(stack|alias)\/lambent-\*/, `$1/${stackName}`)
      .replace('lambent-*', `${stackName}-x`)
      .replaceAll('*', 'x');
  return {
    // IAM simulates no patterns of actions.
    actions: Action.filter((action) => !action.includes('*')),
    resources: Resource.map((pattern) => (pattern === '*' ? pattern : fill(pattern))),
    context: Object.values(Condition).flatMap((keys) =>
      Object.entries(keys).map(([ContextKeyName, values]) => ({
        ContextKeyName,
        ContextKeyType: 'string' as const,
        ContextKeyValues: [values].flat().slice(0, 1).map(fill),
      })),
    ),
  };
}

/** Returns the actions that are allowed on none of the resources. */
async function simulate(
  client: IAMClient,
  principal: string,
  { actions, resources, context }: ReturnType<typeof fillIn>,
): Promise<string[]> {
  const allowed = new Set<string>();
  // A request for each resource: an action that does not support one of several would be denied for all.
  for (const resource of resources) {
    const pages = paginateSimulatePrincipalPolicy(
      { client },
      { PolicySourceArn: principal, ActionNames: actions, ResourceArns: [resource], ContextEntries: context },
    );
    for await (const { EvaluationResults = [] } of pages) {
      for (const { EvalActionName = '', EvalDecision, MissingContextValues = [] } of EvaluationResults) {
        // A decision without a value that the caller's policies test is not certain.
        if (EvalDecision === 'allowed' || MissingContextValues.length > 0) allowed.add(EvalActionName);
      }
    }
  }
  return actions.filter((action) => !allowed.has(action));
}
