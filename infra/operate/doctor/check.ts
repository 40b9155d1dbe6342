import type { ModelRegistry } from '../../../shared/inference/registry.ts';
import type { ClientConfig, Finding } from '../preflight/finding.ts';

/** A resource of the stage's stack. */
export interface StackResource {
  readonly id: string;
  readonly type: string;
  /** Its name, id, ARN or URL, whichever CloudFormation uses for the type. */
  readonly physicalId: string;
  readonly status: string;
}

/** A stage in AWS. */
export interface DoctorInput {
  readonly stage: string;
  readonly region: string;
  readonly stackName: string;
  readonly status: string;
  readonly resources: readonly StackResource[];
  readonly outputs: Readonly<Record<string, string>>;
  /** Default: the models of `MODELS_FILE`, else of `models.json`. */
  readonly registry?: ModelRegistry;
  readonly clientConfig?: ClientConfig;
  /** Epoch milliseconds. */
  readonly now: number;
}

/** A check of a stage. `find` returns what is wrong; it throws if AWS can't be asked. */
export interface DoctorCheck {
  readonly name: string;
  find(input: DoctorInput): Promise<readonly Finding[]>;
}

/** Returns the physical ids of the stack's resources of a type. */
export function listPhysicalIds({ resources }: DoctorInput, type: string): string[] {
  return resources.filter((resource) => resource.type === type).map(({ physicalId }) => physicalId);
}

/** Applies `find` to each item at the same time. Returns all findings. */
export async function findForEach<T>(
  items: readonly T[],
  find: (item: T) => Promise<readonly Finding[]>,
): Promise<Finding[]> {
  return (await Promise.all(items.map(find))).flat();
}

/** The command that deploys a stage again, which repairs what was changed by hand. */
export const formatDeployment = ({ stage, region }: DoctorInput): string =>
  `Deploy again: npm run deploy -- --stage ${stage} --region ${region}`;
