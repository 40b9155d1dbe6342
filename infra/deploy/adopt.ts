import { listReferences, type Template } from '../template.ts';
import { createChangeSet, executeChangeSet } from './change-set.ts';
import type { DataResources } from './data.ts';
import type { StackContext } from './stack.ts';

/** The property by which CloudFormation finds a resource to import, by type. */
const IDENTIFIERS: Readonly<Record<string, string>> = {
  'AWS::DynamoDB::Table': 'TableName',
  'AWS::KMS::Key': 'KeyId',
  'AWS::S3::Bucket': 'BucketName',
};

/**
 * Creates a stack of the data resources that a removed stack left behind.
 * @returns the stack's template, which the next one must contain
 * @throws Error with CloudFormation's reason
 */
export async function adoptData(
  context: StackContext,
  { template, stage }: { readonly template: Template; readonly stage: string },
  kept: DataResources,
): Promise<Template> {
  const adopted = createImportTemplate(template, kept);
  const changeSet = await createChangeSet(context, {
    type: 'IMPORT',
    template: { TemplateBody: JSON.stringify(adopted) },
    stage,
    resourcesToImport: Object.entries(adopted.Resources).map(([id, { Type }]) => ({
      LogicalResourceId: id,
      ResourceType: Type,
      ResourceIdentifier: { [IDENTIFIERS[Type] ?? '']: kept[id] ?? '' },
    })),
  });
  if (changeSet !== undefined) await executeChangeSet(context, changeSet);
  return adopted;
}

/**
 * Returns a template of the kept resources alone, because an import may neither create anything nor add outputs.
 * Properties that refer to other resources are left out, such as a key's policy that names roles. An import changes no
 * property; the update that follows sets these.
 */
export function createImportTemplate({ Resources }: Template, kept: DataResources): Template {
  const refersToKept = (value: unknown) => listReferences(value).every((id) => id in kept || !(id in Resources));
  const adopted = Object.entries(Resources)
    .filter(([id]) => id in kept)
    .map(([id, { Properties = {}, ...resource }]) => {
      const own = Object.entries(Properties).filter(([, value]) => refersToKept(value));
      return [id, { ...resource, Properties: Object.fromEntries(own) }] as const;
    });
  return { Resources: Object.fromEntries(adopted) };
}
