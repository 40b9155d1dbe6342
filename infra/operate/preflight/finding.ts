import type { ModelRegistry } from '../../../shared/inference/registry.ts';
import type { Template, TemplateResource } from '../../template.ts';

/** Something that would make a deployment fail, or a deployed stage unusable. */
export interface Finding {
  /** A deployment doesn't start while there is an error. */
  readonly level: 'error' | 'warning';
  /** What is wrong, as a sentence with the names and values concerned. */
  readonly problem: string;
  /** What to do about it: a sentence, or a command. */
  readonly remedy: string;
}

/** A stage as it was packaged. */
export interface PreflightInput {
  readonly stage: string;
  readonly region: string;
  readonly stackName: string;
  readonly template: Template;
  /** All settings of `serverless.yml` with the values with which the stage was packaged. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** The models with which the stage was packaged. Default: those of `MODELS_FILE`, else of `models.json`. */
  readonly registry?: ModelRegistry;
  /** True to call each Bedrock model once. That costs money, and may subscribe to a product of AWS Marketplace. */
  readonly checkModels?: boolean;
  /** For the constructors of the AWS SDK's clients, besides `region`. */
  readonly clientConfig?: ClientConfig;
}

export interface ClientConfig {
  readonly endpoint?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** A check returns what it finds. It throws only if AWS can't be asked, which becomes a warning. */
export type Check = (input: PreflightInput) => Promise<readonly Finding[]>;

export const createError = (problem: string, remedy: string): Finding => ({ level: 'error', problem, remedy });
export const createWarning = (problem: string, remedy: string): Finding => ({ level: 'warning', problem, remedy });

/** Returns the template's resources of a type. */
export function listResources({ Resources }: Template, type: string): readonly TemplateResource[] {
  return Object.values(Resources).filter(({ Type }) => Type === type);
}

/** Returns a property of a resource by its path, `undefined` for a missing property. */
export function readProperty({ Properties }: TemplateResource, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((value, name) => (Object(value) as Record<string, unknown>)[name], Properties);
}
