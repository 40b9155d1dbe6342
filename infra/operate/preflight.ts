import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import type { Template } from '../template.ts';

/** Something that would make a deployment fail, or a deployed stage unusable. */
export interface Finding {
  /** A deployment doesn't start while there is an error. */
  readonly level: 'error' | 'warning';
  /** What is wrong, as a sentence with the names and values concerned. */
  readonly problem: string;
  /** What to do about it: a sentence, or a command. */
  readonly remedy: string;
}

/** A stage as it was packaged, and the account to which it is deployed. */
export interface PreflightInput {
  readonly stage: string;
  readonly region: string;
  readonly stackName: string;
  readonly template: Template;
  /** All settings of `serverless.yml` with the values with which the stage was packaged. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** The account of the stage's first deployment. Absent before it. */
  readonly account?: string | undefined;
  /** For the constructors of the AWS SDK's clients, besides `region`. */
  readonly clientConfig?: ClientConfig;
}

export interface ClientConfig {
  readonly endpoint?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** A check returns what it finds. It throws only if AWS can't be asked, which becomes a warning. */
type Check = (input: PreflightInput) => Promise<readonly Finding[]>;

/** The checks that need credentials. They run at the same time. */
const CHECKS: readonly Check[] = [];

/**
 * Checks what can be known before a deployment. Changes nothing.
 * @returns the findings, errors first; empty if the deployment may start
 */
export async function runPreflight(input: PreflightInput): Promise<readonly Finding[]> {
  const first = [...checkStageName(input), ...(await checkAccount(input))];
  if (first.some(({ level }) => level === 'error')) return first;
  const more = await Promise.all(CHECKS.map((check) => check(input).catch(reportFailedCheck)));
  return [...first, ...more.flat()].sort((a, b) => a.level.localeCompare(b.level));
}

/** The names of a stage's resources contain its name: a bucket's allows no underscore, a role's only 64 characters. */
function checkStageName({ stage }: PreflightInput): Finding[] {
  if (/^[a-z][a-z0-9-]{0,19}$/.test(stage)) return [];
  return [
    {
      level: 'error',
      problem: `The stage name '${stage}' can't be part of the names of AWS resources.`,
      remedy: 'Use at most 20 lower-case letters, digits and hyphens, beginning with a letter.',
    },
  ];
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
