import { join } from 'node:path';
import { nameByContents } from './artefacts.ts';
import { evaluateConditions } from './conditions.ts';
import { completeGateway } from './gateway.ts';
import { checkStageName } from './stage-name.ts';
import { addTags, type Tags } from './tags.ts';
import type { Template } from './template.ts';

/** The part of osls's API that this plugin uses. */
interface Osls {
  /** The folder that holds `serverless.yml`. */
  readonly serviceDir: string;
  readonly service: {
    readonly provider: { readonly stage: string; compiledCloudFormationTemplate: Template };
    readonly custom: { readonly tags: Tags };
    readonly functions: Readonly<Record<string, OslsFunction>>;
  };
}

interface OslsFunction {
  /** Complete name, such as `lambent-dev-chat`. */
  readonly name: string;
  readonly environment?: Readonly<Record<string, unknown>>;
}

/** An osls plugin that completes the compiled template after our own resources are merged and before it is written. */
class TemplatePlugin {
  readonly hooks: Readonly<Record<string, () => void>>;

  constructor({ service, serviceDir }: Osls) {
    this.hooks = {
      'after:aws:package:finalize:mergeCustomProviderResources': () => {
        checkStageName(
          service.provider.stage,
          Object.values(service.functions).map(({ name }) => name),
        );
        const template = evaluateConditions(service.provider.compiledCloudFormationTemplate);
        const corsOrigin = service.functions['chat']?.environment?.['CORS_ORIGIN'];
        const completed = completeGateway(template.Resources, typeof corsOrigin === 'string' ? corsOrigin : '');
        const Resources = nameByContents(completed, join(serviceDir, '.serverless'));
        service.provider.compiledCloudFormationTemplate = addTags({ ...template, Resources }, service.custom.tags);
      },
    };
  }
}

// osls loads plugins with `require`, which returns a module's export of this name.
export { TemplatePlugin as 'module.exports' };
