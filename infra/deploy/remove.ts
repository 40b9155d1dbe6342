/** `npm run remove`: removes a stage, but keeps its data unless asked twice. docs/deploy.md describes it. */
import type { Stack } from '@aws-sdk/client-cloudformation';
import { checkArgument, parseOptions, runCommandLine, UsageError } from '../operate/command-line.ts';
import { resolveStage } from '../operate/stage.ts';
import { readStages, recordStage } from '../operate/stages-file.ts';
import { type CommandContext, createShellContext, createStageClients, readAccount } from './context.ts';
import { DATA_IDS, type DataResources, deleteData, findKeptData } from './data.ts';
import { emptyDeploymentBucket } from './first-deployment.ts';
import { checkIdle, deleteStack, describeStack, listPhysicalIds } from './stack.ts';

const USAGE = `usage:
  npm run remove -- --stage STAGE [--region REGION]
  npm run remove -- --stage STAGE [--region REGION] --delete-data --yes-delete-data-of STAGE [--vault-key ID]

Tables, bucket and KMS keys stay, unless --delete-data and --yes-delete-data-of are given. --vault-key names the vault
key if it can't be found.`;

/**
 * Runs `npm run remove`.
 * @throws UsageError for invalid arguments, before anything is changed
 * @throws Error with the reason if the stage can't be removed
 */
export async function runRemoveCommand(args: readonly string[], context: CommandContext): Promise<void> {
  const { positionals, values } = parseOptions(args, {
    stage: { type: 'string' },
    region: { type: 'string' },
    'delete-data': { type: 'boolean', default: false },
    'yes-delete-data-of': { type: 'string' },
    'vault-key': { type: 'string' },
  });
  if (positionals.length > 0) throw new UsageError(`remove takes only options, not '${positionals[0]}'`);
  const stage = await resolveStage(values, context.stagesFile);
  const recorded = (await readStages(context.stagesFile))[stage.name];
  checkConfirmation(stage.name, values);
  if (recorded !== undefined && recorded.region !== stage.region) {
    throw new UsageError(`the stage ${stage.name} is deployed in ${recorded.region}, not ${stage.region}`);
  }
  await readAccount(context, { stage: stage.name, region: stage.region, recorded });
  const data = await removeStack(stage.prefix, stage.region, values['vault-key'], context);
  const { data: clients } = createStageClients(context, stage.region, stage.prefix);
  if (!values['delete-data']) return printKept(data, stage.name, stage.region, context);
  context.print('Deleting the data:');
  await deleteData(clients, data, context.print);
  await recordStage(context.stagesFile, stage.name, undefined);
}

/** Throws UsageError unless both or neither of the options to delete data are given, with the stage's name. */
function checkConfirmation(
  stage: string,
  values: { readonly 'delete-data': boolean; readonly 'yes-delete-data-of'?: string | undefined },
): void {
  const confirmed = values['yes-delete-data-of'];
  if (!values['delete-data'] && confirmed === undefined) return;
  if (!values['delete-data']) throw new UsageError('--yes-delete-data-of needs --delete-data');
  checkArgument('--yes-delete-data-of', confirmed, new RegExp(`^${stage}$`), `the stage's name, ${stage}`);
}

/** Removes the stack if there is one. Returns its data resources, or those that an earlier removal kept. */
async function removeStack(
  stackName: string,
  region: string,
  vaultKey: string | undefined,
  context: CommandContext,
): Promise<DataResources> {
  const { stack: stackContext, data } = createStageClients(context, region, stackName);
  const stack = await describeStack(stackContext);
  if (stack?.StackId === undefined) {
    context.print(`There is no stack ${stackName} in ${region}.`);
    return findKeptData(data, stackName, vaultKey);
  }
  checkRemovable(stack, region);
  const ids = await listPhysicalIds(stackContext);
  context.print(`Removing the stack ${stackName} in ${region}`);
  await emptyDeploymentBucket(stackContext, data.s3);
  await deleteStack(stackContext, stack.StackId);
  const own: DataResources = Object.fromEntries(
    DATA_IDS.flatMap((id) => (ids.has(id) ? [[id, ids.get(id) ?? '']] : [])),
  );
  if (DATA_IDS.every((id) => id in own)) return own;
  // The stack was never complete, for example because an adoption failed.
  return { ...(await findKeptData(data, stackName, vaultKey ?? own['VaultKey'])), ...own };
}

/** Throws if CloudFormation would refuse to delete a stack: nothing, such as its zips, may be deleted before. */
function checkRemovable(stack: Stack, region: string): void {
  if (stack.StackStatus !== 'DELETE_IN_PROGRESS') checkIdle(stack);
  if (stack.EnableTerminationProtection !== true) return;
  throw new Error(
    `The stack ${stack.StackName} is protected against deletion. To remove it: ` +
      `aws cloudformation update-termination-protection --no-enable-termination-protection --region ${region} --stack-name ${stack.StackName}`,
  );
}

function printKept(data: DataResources, stage: string, region: string, { print }: CommandContext): void {
  const kept = Object.entries(data);
  print(kept.length === 0 ? 'No data is left.' : 'These hold data, and were kept:');
  if (kept.length === 0) return;
  for (const [id, physicalId] of kept) print(`  ${id} ${physicalId}`);
  print('Each KMS key costs 1 to 3 USD a month; tables and bucket cost what their data takes (docs/costs.md).');
  print(`To use them again: npm run deploy -- --stage ${stage} --region ${region} --adopt`);
  print(
    `To delete them: npm run remove -- --stage ${stage} --region ${region} --delete-data --yes-delete-data-of ${stage}`,
  );
}

if (import.meta.main) await runCommandLine((args) => runRemoveCommand(args, createShellContext()), USAGE);
