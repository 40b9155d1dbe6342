/**
 * `npm run doctor -- --stage STAGE`: checks a running stage and says what to do about what is wrong. It changes nothing
 * and reads no content. docs/deploy.md describes it.
 */
import {
  CloudFormationClient,
  DescribeStacksCommand,
  paginateListStackResources,
} from '@aws-sdk/client-cloudformation';
import { createStackError, describeAwsError } from './aws-error.ts';
import { parseOptions, runCommandLine, UsageError } from './command-line.ts';
import { alarmCheck, subscriptionCheck } from './doctor/alarms.ts';
import type { DoctorCheck, DoctorInput, StackResource } from './doctor/check.ts';
import { bucketCheck, keyCheck, tableCheck } from './doctor/data.ts';
import { concurrencyCheck, functionCheck, mappingCheck, provisionedCheck } from './doctor/functions.ts';
import { deadLetterCheck, queueAgeCheck, warmupCheck } from './doctor/queues.ts';
import { referenceCheck } from './doctor/references.ts';
import { endpointCheck, stackCheck } from './doctor/stack.ts';
import type { ClientConfig } from './preflight/finding.ts';
import { resolveStage, type Stage } from './stage.ts';

const USAGE = `usage:
  npm run doctor -- --stage STAGE [--region REGION]

Without --region, the region is that of the stage in stages.json, else in serverless.yml.`;

const CHECKS: readonly DoctorCheck[] = [
  ...[stackCheck, endpointCheck, functionCheck, mappingCheck, provisionedCheck, concurrencyCheck, warmupCheck],
  ...[tableCheck, bucketCheck, keyCheck, deadLetterCheck, queueAgeCheck, alarmCheck, subscriptionCheck, referenceCheck],
];

export interface DoctorContext {
  readonly print: (line: string) => void;
  /** Epoch milliseconds. */
  readonly now: () => number;
  readonly clientConfig?: ClientConfig;
  /** Default: the models of `MODELS_FILE`, else of `models.json`. */
  readonly registry?: DoctorInput['registry'];
}

/**
 * Checks a stage and prints a table of the results.
 * @returns true if nothing is wrong. Warnings don't count, checks that could not be made do
 * @throws UsageError for invalid arguments; Error with one line if the stack can't be read
 */
export async function runDoctor(args: readonly string[], context: DoctorContext): Promise<boolean> {
  const { positionals, values } = parseOptions(args, { stage: { type: 'string' }, region: { type: 'string' } });
  if (positionals.length > 0) throw new UsageError(`doctor takes only options, not '${positionals[0]}'`);
  const stage = await resolveStage(values);
  const input = await readStage(stage, context);
  const rows = await Promise.all(CHECKS.map((check) => runCheck(check, input)));
  for (const line of formatTable(rows.flat())) context.print(line);
  const wrong = rows.flat().filter(({ state }) => state === 'wrong' || state === 'unknown').length;
  const place = `${stage.prefix} in ${stage.region}`;
  context.print(wrong === 0 ? `Nothing is wrong with ${place}.` : `${wrong} of these must be repaired in ${place}.`);
  return wrong === 0;
}

async function readStage(stage: Stage, { clientConfig, registry, now }: DoctorContext): Promise<DoctorInput> {
  const { region, prefix: StackName } = stage;
  const client = new CloudFormationClient({ ...clientConfig, region });
  try {
    const { Stacks = [] } = await client.send(new DescribeStacksCommand({ StackName }));
    const resources: StackResource[] = [];
    for await (const page of paginateListStackResources({ client }, { StackName }))
      for (const found of page.StackResourceSummaries ?? [])
        resources.push({
          id: found.LogicalResourceId ?? '',
          type: found.ResourceType ?? '',
          physicalId: found.PhysicalResourceId ?? '',
          status: found.ResourceStatus ?? '',
        });
    const outputs = (Stacks[0]?.Outputs ?? []).map(({ OutputKey = '', OutputValue = '' }) => [OutputKey, OutputValue]);
    return {
      ...{ stage: stage.name, region, stackName: StackName, resources, now: now() },
      status: Stacks[0]?.StackStatus ?? '',
      outputs: Object.fromEntries(outputs),
      ...(registry === undefined ? {} : { registry }),
      ...(clientConfig === undefined ? {} : { clientConfig }),
    };
  } catch (thrown) {
    throw createStackError(thrown, StackName, region);
  } finally {
    client.destroy();
  }
}

interface Row {
  readonly check: string;
  readonly state: 'ok' | 'warning' | 'wrong' | 'unknown';
  readonly problem: string;
  readonly remedy: string;
}

async function runCheck({ name, find }: DoctorCheck, input: DoctorInput): Promise<Row[]> {
  try {
    const findings = await find(input);
    if (findings.length === 0) return [{ check: name, state: 'ok', problem: '', remedy: '' }];
    return findings.map(({ level, problem, remedy }) => ({
      ...{ check: name, problem, remedy },
      state: level === 'error' ? 'wrong' : 'warning',
    }));
  } catch (thrown) {
    const problem = `The check could not be made: ${describeAwsError(thrown)}`;
    return [{ check: name, state: 'unknown', problem, remedy: 'Allow the action that the message names.' }];
  }
}

/** Returns the lines of the table: a row per finding, the remedy on a line of its own, because commands are long. */
function formatTable(rows: readonly Row[]): string[] {
  const width = Math.max(...rows.map(({ check }) => check.length));
  return rows.flatMap(({ check, state, problem, remedy }) => {
    const line = `${check.padEnd(width)}  ${state.padEnd(7)}  ${problem}`.trimEnd();
    return remedy === '' ? [line] : [line, `${' '.repeat(width + 11)}${remedy}`];
  });
}

if (import.meta.main) {
  await runCommandLine(async (args) => {
    const isHealthy = await runDoctor(args, { print: console.log, now: Date.now });
    if (!isHealthy) process.exitCode = 1;
  }, USAGE);
}
