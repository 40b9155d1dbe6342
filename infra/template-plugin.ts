import { settleConditions } from './conditions.ts';
import { completeGateway } from './gateway.ts';
import type { Template } from './template.ts';

/** The part of osls that this plugin uses. */
interface Osls {
  readonly service: {
    readonly provider: { compiledCloudFormationTemplate: Template };
    readonly functions: Readonly<Record<string, { readonly environment?: Readonly<Record<string, unknown>> }>>;
  };
}

/** Finishes the template that osls compiled, when our own resources are in it and before it is written. */
class TemplatePlugin {
  readonly hooks: Readonly<Record<string, () => void>>;

  constructor({ service }: Osls) {
    this.hooks = {
      'after:aws:package:finalize:mergeCustomProviderResources': () => {
        const template = settleConditions(service.provider.compiledCloudFormationTemplate);
        const corsOrigin = service.functions['chat']?.environment?.['CORS_ORIGIN'];
        service.provider.compiledCloudFormationTemplate = {
          ...template,
          Resources: completeGateway(template.Resources, typeof corsOrigin === 'string' ? corsOrigin : ''),
        };
      },
    };
  }
}

// osls loads plugins with `require`, which hands out a module's export of this name.
export { TemplatePlugin as 'module.exports' };
