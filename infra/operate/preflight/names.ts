import type { TemplateResource } from '../../template.ts';
import { describeAwsError } from '../aws-error.ts';
import { createError, createWarning, type Finding, type PreflightInput } from './finding.ts';
import { NAMED_RESOURCES } from './named-resources.ts';
import { readOwnStack } from './own-stack.ts';

/**
 * Finds names of the template that resources outside the stage's stack have already: CloudFormation would fail on the
 * first of them and undo the deployment. Typically a failed first deployment or a removed stage left them.
 */
export async function checkNames(input: PreflightInput): Promise<readonly Finding[]> {
  const own = await readOwnStack(input);
  const found = await Promise.all(Object.keys(NAMED_RESOURCES).map((type) => findTaken(type, input, own)));
  return found.flat();
}

/**
 * Returns the name that a template gives a resource: the property `QueueName` of an `AWS::SQS::Queue`, `DomainName` of an
 * `AWS::ApiGateway::DomainName`, or `Name`.
 */
export function readFixedName({ Type, Properties = {} }: TemplateResource): string | undefined {
  const [, kind] = /::(\w+?)(?:Name)?$/.exec(Type) ?? [];
  const name = Properties[`${kind}Name`] ?? Properties['Name'];
  return typeof name === 'string' ? name : undefined;
}

async function findTaken(
  type: string,
  input: PreflightInput,
  own: ReadonlyMap<string, string> | undefined,
): Promise<Finding[]> {
  const { region, clientConfig, stackName, template } = input;
  const kind = NAMED_RESOURCES[type];
  const names = Object.entries(template.Resources)
    .filter(([id, { Type }]) => Type === type && own?.has(id) !== true)
    .flatMap(([, resource]) => readFixedName(resource) ?? []);
  if (kind === undefined || names.length === 0) return [];
  const existing = await kind.findExisting(names, { ...clientConfig, region }).catch(describeAwsError);
  if (typeof existing === 'string')
    return [
      createWarning(
        `It could not be checked whether ${/^[aeiou]/i.test(kind.noun) ? 'an' : 'a'} ${kind.noun} outside the stack has a name of this stage: ${existing}`,
        'Allow the missing action to check it, or deploy without this check.',
      ),
    ];
  return existing.map((name) => {
    const deletion = kind.formatDeletion(name).replaceAll(/aws [\w-]+ [\w-]+/g, `$& --region ${region}`);
    return createError(
      `The ${kind.noun} ${name} exists already and does not belong to the stack ${stackName}.`,
      `Deploy another stage. Or, if its data is not needed (this deletes it): ${deletion}`,
    );
  });
}
