import { describeAwsError, isAccessDenied } from './aws-error.ts';
import { checkConcurrency } from './preflight/concurrency.ts';
import type { Check, Finding, PreflightInput } from './preflight/finding.ts';
import { checkLogRole } from './preflight/gateway.ts';
import { checkGpus } from './preflight/gpu.ts';
import { checkModels } from './preflight/models.ts';
import { checkNames } from './preflight/names.ts';
import { checkPermissions } from './preflight/permissions.ts';
import { checkReferences } from './preflight/references.ts';

export type { Finding, PreflightInput } from './preflight/finding.ts';

/** The checks by what they check. They run at the same time. */
const CHECKS: Readonly<Record<string, Check>> = {
  "the deployer's permissions": checkPermissions,
  'the concurrency quota': checkConcurrency,
  'the role for access logs': checkLogRole,
  "the resources' names": checkNames,
  'parameters and secrets': checkReferences,
  'the models': checkModels,
  'the GPU fleet': checkGpus,
};

/**
 * Checks what can be known before a deployment. Changes nothing.
 * @returns the findings, errors first; empty if the deployment may start
 */
export async function runPreflight(input: PreflightInput): Promise<readonly Finding[]> {
  const findings = await Promise.all(
    Object.entries(CHECKS).map(([name, check]) => check(input).catch((thrown) => reportFailedCheck(name, thrown))),
  );
  return findings.flat().sort((a, b) => a.level.localeCompare(b.level));
}

function reportFailedCheck(name: string, thrown: unknown): Finding[] {
  const remedy = isAccessDenied(thrown) ? 'Allow the action that the message names' : 'Deploy again';
  return [
    {
      level: 'warning',
      problem: `The check of ${name} could not be made: ${describeAwsError(thrown)}`,
      remedy: `${remedy}, or deploy without this check.`,
    },
  ];
}
