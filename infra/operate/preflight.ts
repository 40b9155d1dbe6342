import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { checkConcurrency } from './preflight/concurrency.ts';
import type { Check, Finding, PreflightInput } from './preflight/finding.ts';
import { checkLogRole } from './preflight/gateway.ts';
import { checkGpus } from './preflight/gpu.ts';
import { checkModels } from './preflight/models.ts';
import { checkNames } from './preflight/names.ts';
import { checkPermissions } from './preflight/permissions.ts';
import { checkReferences } from './preflight/references.ts';

export type { Finding, PreflightInput } from './preflight/finding.ts';

/** The checks that need credentials. They run at the same time. */
const CHECKS: readonly Check[] = [
  checkPermissions,
  checkConcurrency,
  checkLogRole,
  checkNames,
  checkReferences,
  checkModels,
  checkGpus,
];

/**
 * Checks what can be known before a deployment. Changes nothing.
 * @returns the findings, errors first; empty if the deployment may start
 */
export async function runPreflight(input: PreflightInput): Promise<readonly Finding[]> {
  const first = await checkAccount(input);
  if (first.some(({ level }) => level === 'error')) return first;
  const more = await Promise.all(CHECKS.map((check) => check(input).catch(reportFailedCheck)));
  return [...first, ...more.flat()].sort((a, b) => a.level.localeCompare(b.level));
}

/** Checks that there are credentials, and that they belong to the stage's account. */
async function checkAccount({ stage, region, account, clientConfig }: PreflightInput): Promise<Finding[]> {
  let caller: string | undefined;
  try {
    ({ Account: caller } = await new STSClient({ ...clientConfig, region }).send(new GetCallerIdentityCommand()));
  } catch (thrown) {
    return [
      {
        level: 'error',
        problem: `AWS accepts no credentials of this shell: ${describeError(thrown)}`,
        remedy: 'Sign in (aws sso login), or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.',
      },
    ];
  }
  if (account === undefined || account === caller) return [];
  return [
    {
      level: 'error',
      problem: `The credentials belong to account ${caller}, but the stage ${stage} is deployed in ${account}.`,
      remedy: `Use credentials of account ${account}, or another stage name.`,
    },
  ];
}

function reportFailedCheck(thrown: unknown): Finding[] {
  return [
    {
      level: 'warning',
      problem: `A check could not be made: ${describeError(thrown)}`,
      remedy: 'Allow the missing action to check it, or deploy without this check.',
    },
  ];
}

function describeError(thrown: unknown): string {
  return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
}
