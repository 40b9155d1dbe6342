import { CfnResource, type IPolicyValidationPlugin, type Stack, TagManager } from 'aws-cdk-lib';

const STAGE_TAG = 'lambent:stage';

/** Returns a validator that finds resources without the stage's tags, though their type has a property for them. */
export function createTagRule(stack: Stack): IPolicyValidationPlugin {
  return {
    name: 'tags',
    validate() {
      const untagged = stack.node
        .findAll()
        .filter(CfnResource.isCfnResource)
        .filter((resource) => {
          const tags = TagManager.of(resource);
          return tags !== undefined && !Object.hasOwn(tags.tagValues(), STAGE_TAG);
        });
      return {
        success: untagged.length === 0,
        violations: untagged.map((resource) => ({
          ruleName: 'tags',
          description: `${resource.cfnResourceType} takes tags, but this resource has no ${STAGE_TAG}.`,
          violatingResources: [
            {
              resourceLogicalId: stack.resolve(resource.logicalId),
              templatePath: stack.templateFile,
              locations: ['Properties.Tags'],
            },
          ],
        })),
      };
    },
  };
}
