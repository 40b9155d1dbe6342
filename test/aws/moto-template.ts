import type { Template, TemplateResource } from '../../infra/template.ts';
import { isObject } from '../../shared/core/objects.ts';

/**
 * Returns a template that moto can deploy. It differs from the stage's only where moto is wrong:
 * - moto deletes resources with the policy `RetainExceptOnCreate`. It differs from `Retain` only where CloudFormation rolls
 *   back, which moto never does.
 * - moto fails to create a KMS key that has tags.
 * - moto requires `IntegrationHttpMethod` and `Uri`, also of integrations without a backend.
 */
export function adaptToMoto(template: Template): Template {
  const entries = Object.entries(template.Resources).map(([id, resource]) => [id, adaptResource(resource)]);
  return { ...template, Resources: Object.fromEntries(entries) };
}

function adaptResource(resource: TemplateResource): TemplateResource {
  const { Tags, ...untagged } = resource.Properties ?? {};
  const { Integration } = untagged;
  const isMock = isObject(Integration) && Integration['Type'] === 'MOCK';
  return {
    ...resource,
    ...(resource.DeletionPolicy === 'RetainExceptOnCreate' ? { DeletionPolicy: 'Retain' } : {}),
    ...(resource.Type === 'AWS::KMS::Key' ? { Properties: untagged } : {}),
    ...(isMock
      ? {
          Properties: {
            ...resource.Properties,
            Integration: { IntegrationHttpMethod: 'POST', Uri: '', ...Integration },
          },
        }
      : {}),
  };
}
