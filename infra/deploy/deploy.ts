/**
 * `npm run deploy`: packages a stage and deploys exactly that package to the account of the shell's credentials.
 * docs/deploy.md describes it.
 */
import type { Stack } from '@aws-sdk/client-cloudformation';
import { runCommandLine } from '../operate/command-line.ts';
import { type Finding, runPreflight } from '../operate/preflight.ts';
import { resolveStage } from '../operate/stage.ts';
import { readStages, recordStage } from '../operate/stages-file.ts';
import { OUT_DIR, packageStage } from '../package.ts';
import type { Template } from '../template.ts';
import { adoptData, createImportTemplate } from './adopt.ts';
import { type ChangeSet, createChangeSet, deleteChangeSet, executeChangeSet, FailedChangeError } from './change-set.ts';
import { findLostData, formatChanges } from './change-table.ts';
import {
  type CommandContext,
  createShellContext,
  createStageClients,
  readAccount,
  type StageClients,
} from './context.ts';
import { DATA_IDS, type DataResources, findKeptData } from './data.ts';
import { cleanUpFirstDeployment, DEPLOYMENT_BUCKET, hasNeverSucceeded } from './first-deployment.ts';
import { checkPackage, DEPLOY_USAGE, type DeployOptions, parseDeployOptions } from './options.ts';
import { callService } from './service-call.ts';
import { checkIdle, describeStack, listEvents, listPhysicalIds, type StackContext } from './stack.ts';
import { readStagePackage, type StagePackage } from './stage-package.ts';
import { pruneUploads, uploadPackage } from './upload.ts';

/**
 * Runs `npm run deploy`.
 * @throws UsageError for invalid arguments
 * @throws Error with the reason if the stage isn't deployed, or the deployed service doesn't respond
 */
export async function runDeployCommand(args: readonly string[], context: CommandContext): Promise<void> {
  const options = parseDeployOptions(args);
  if (!options.packaged) {
    const { name: stage, region } = await resolveStage(options, context.stagesFile);
    const recorded = (await readStages(context.stagesFile))[stage];
    // Wrong credentials are reported before the packaging, which takes a while.
    await readAccount(context, { stage, region, recorded });
    await packageStage({ stage, region: options.region ?? recorded?.region, param: options.param });
  }
  await deployPackage(await readStagePackage(OUT_DIR), options, context);
}

/** Deploys a package. Throws like `runDeployCommand`. */
export async function deployPackage(
  packaged: StagePackage,
  options: DeployOptions,
  context: CommandContext,
): Promise<void> {
  const { stage, region, stackName } = packaged;
  checkPackage(options, packaged);
  const recorded = (await readStages(context.stagesFile))[stage];
  if (recorded !== undefined && recorded.region !== region) {
    throw new Error(
      `The stage ${stage} is deployed in ${recorded.region}, not ${region}. Another region needs another stage name.`,
    );
  }
  const { clientConfig, print } = context;
  const account = await readAccount(context, { stage, region, recorded });
  print(`Deploying ${stackName} to ${region} in account ${account}`);
  const clients = createStageClients(context, region, stackName);
  const kept = await resolveEarlierStack(packaged, options, clients);
  if (kept === undefined) return;
  const template = omitResources(packaged.template, kept);
  const { checkModels } = options;
  reportFindings(await runPreflight({ ...packaged, template, clientConfig, checkModels }), options, print);

  const bucket = await prepareStack(packaged, options, kept, clients);
  if (bucket === undefined) return;
  const upload = await uploadPackage(clients.data.s3, bucket, packaged);
  print(`Uploaded ${upload.uploaded} of ${packaged.artefacts.length + 1} files; the others were there already`);
  const changeSet = await createChangeSet(clients.stack, {
    type: 'UPDATE',
    template: { TemplateURL: upload.templateUrl },
    stage,
  });
  if (changeSet === undefined) print('Nothing has changed since the last deployment.');
  if (changeSet !== undefined) {
    if (!(await approve(changeSet, options, context, clients))) return;
    await update(packaged, changeSet, clients);
    await pruneUploads(clients.data.s3, packaged, upload);
  }
  if (await recordStage(context.stagesFile, stage, { account, region })) {
    print(`Recorded account and region in ${context.stagesFile}. Commit this file.`);
  }
  await printSummary(packaged, options, context, clients);
}

/** Prints the findings of the preflight. Throws if one of them is an error, unless they are to be ignored. */
function reportFindings(findings: readonly Finding[], { force }: DeployOptions, print: CommandContext['print']): void {
  for (const { level, problem, remedy } of findings) print(`${level}: ${problem}\n  ${remedy}`);
  const errors = findings.filter(({ level }) => level === 'error').length;
  if (errors === 0 || force) return;
  const count = errors === 1 ? 'an error' : `${errors} errors`;
  throw new Error(`Nothing was deployed: the preflight found ${count}. To deploy in spite of that, add --force.`);
}

/**
 * Removes what a failed first deployment left, and finds the data that a removed stack left.
 * @returns the kept data to adopt; undefined if only the changes were asked for and a failed first deployment is in their way
 * @throws Error if there is kept data but it isn't to be adopted, or the stack can't be updated
 */
async function resolveEarlierStack(
  { stage, region, stackName }: StagePackage,
  options: DeployOptions,
  { stack: context, data }: StageClients,
): Promise<DataResources | undefined> {
  let stack = await describeStack(context);
  if (stack !== undefined && (await isFailedFirstDeployment(stack, context))) {
    if (options.diff) {
      context.print(
        `The first deployment of ${stackName} failed (${stack.StackStatus}). Deploy without --diff to delete what it left, and to create the stack.`,
      );
      return undefined;
    }
    await cleanUpFirstDeployment(context, data, stack);
    stack = undefined;
  }
  checkStatus(stack);
  if (isCreated(stack)) return {};
  const kept = await findKeptData(data, stackName, options.vaultKey);
  const names = Object.values(kept).join(', ');
  if (options.adopt && kept['KeysTable'] !== undefined && kept['VaultKey'] === undefined) {
    throw new Error(
      `No enabled key has the description "Wraps the tenants' keys of ${stackName}". Without it, ${stackName}-keys can't be read. ` +
        'If the description was changed, name the key: --vault-key ID',
    );
  }
  if (names === '' || options.adopt) return kept;
  throw new Error(
    `${stackName} was removed, but its data is still there: ${names}.\n` +
      `Add --adopt to keep it, or delete it: npm run remove -- --stage ${stage} --region ${region} ` +
      `--delete-data --yes-delete-data-of ${stage}`,
  );
}

/** Returns the template without resources that exist already. */
function omitResources(template: Template, existing: DataResources): Template {
  const others = Object.entries(template.Resources).filter(([id]) => !(id in existing));
  return { ...template, Resources: Object.fromEntries(others) };
}

/**
 * Creates the stack with its deployment bucket, and with the kept data.
 * @returns the name of the deployment bucket; undefined if only the changes were asked for and there is no stack
 */
async function prepareStack(
  packaged: StagePackage,
  options: DeployOptions,
  kept: DataResources,
  clients: StageClients,
): Promise<string | undefined> {
  const { stack: context } = clients;
  if (isCreated(await describeStack(context))) return completeStack(packaged, options, clients);
  if (options.diff) {
    context.print(`There is no stack yet. It would have ${Object.keys(packaged.template.Resources).length} resources.`);
    return undefined;
  }
  const names = Object.values(kept).join(', ');
  context.print(names === '' ? 'Creating the stack' : `Adopting ${names}`);
  const adopted = names === '' ? undefined : await adoptData(context, packaged, kept);
  await createBucket(packaged, adopted, clients);
  return readDeploymentBucket(clients);
}

/** Adds the deployment bucket to a stack that an interrupted adoption left without it. Returns like `prepareStack`. */
async function completeStack(
  packaged: StagePackage,
  { diff }: DeployOptions,
  clients: StageClients,
): Promise<string | undefined> {
  const ids = await listPhysicalIds(clients.stack);
  if (ids.has(DEPLOYMENT_BUCKET) || ![...ids.keys()].every((id) => DATA_IDS.includes(id))) {
    return readDeploymentBucket(clients);
  }
  if (diff) {
    clients.stack.print('The stack has only the data that was adopted. Deploy without --diff to complete it.');
    return undefined;
  }
  await createBucket(packaged, createImportTemplate(packaged.template, Object.fromEntries(ids)), clients);
  return readDeploymentBucket(clients);
}

/** Creates the stack with its deployment bucket, or adds the bucket to a stack of adopted data. */
async function createBucket(
  { bucketTemplate, stage }: StagePackage,
  adopted: Template | undefined,
  { stack }: StageClients,
): Promise<void> {
  const template = { ...bucketTemplate, Resources: { ...adopted?.Resources, ...bucketTemplate.Resources } };
  const changeSet = await createChangeSet(stack, {
    type: adopted === undefined ? 'CREATE' : 'UPDATE',
    template: { TemplateBody: JSON.stringify(template) },
    stage,
  });
  if (changeSet !== undefined) await executeChangeSet(stack, changeSet);
}

/** True if a stack failed before any deployment of it succeeded. */
async function isFailedFirstDeployment({ StackId = '', StackStatus }: Stack, context: StackContext): Promise<boolean> {
  if (!/^(CREATE_FAILED|.*ROLLBACK_(COMPLETE|FAILED)|DELETE_FAILED)$/.test(StackStatus ?? '')) return false;
  return hasNeverSucceeded(await listEvents(context, StackId));
}

/** Throws if a stack can't be updated. */
function checkStatus(stack: Stack | undefined): void {
  if (stack === undefined) return;
  checkIdle(stack);
  const { StackName, StackStatus: status = '' } = stack;
  if (status.endsWith('_FAILED') || status === 'ROLLBACK_COMPLETE') {
    throw new Error(`The stack ${StackName} can't be updated (${status}). docs/deploy.md#if-a-deployment-fails`);
  }
}

/** False if there is no stack, or only a change set for one. */
function isCreated(stack: Stack | undefined): boolean {
  return stack !== undefined && stack.StackStatus !== 'REVIEW_IN_PROGRESS';
}

async function readDeploymentBucket({ stack }: StageClients): Promise<string> {
  const bucket = (await listPhysicalIds(stack)).get(DEPLOYMENT_BUCKET);
  if (bucket === undefined) throw new Error(`The stack ${stack.stackName} has no deployment bucket; is it Lambent's?`);
  return bucket;
}

/** Shows the changes if asked for. Returns false, and deletes the change set, if they must not be made. */
async function approve(
  changeSet: ChangeSet,
  options: DeployOptions,
  { ask, print }: CommandContext,
  { stack }: StageClients,
): Promise<boolean> {
  const { changes } = changeSet;
  const lost = findLostData(changes);
  if (options.diff || lost.length > 0) for (const line of formatChanges(changes, lost)) print(line);
  if (lost.length > 0 && !options.replaceData) {
    await deleteChangeSet(stack, changeSet.id);
    throw new Error(
      `Nothing was deployed: ${lost.map(({ id }) => id).join(', ')} would be replaced by an empty one, and the data would ` +
        'stay behind. To deploy it, add --replace-data.',
    );
  }
  if (!options.diff || (await ask('Deploy these changes? (yes/no) ')) === 'yes') return true;
  await deleteChangeSet(stack, changeSet.id);
  print('Nothing was deployed.');
  return false;
}

/** Makes the changes. If a first deployment fails, also deletes what it left. */
async function update({ stackName }: StagePackage, changeSet: ChangeSet, clients: StageClients): Promise<void> {
  const { changes } = changeSet;
  clients.stack.print(`Changing ${changes.length} resources`);
  try {
    await executeChangeSet(clients.stack, changeSet);
  } catch (thrown) {
    if (!(thrown instanceof FailedChangeError)) throw thrown;
    const stack = await describeStack(clients.stack);
    if (stack !== undefined && (await isFailedFirstDeployment(stack, clients.stack))) {
      clients.stack.print(thrown.message);
      await cleanUpFirstDeployment(clients.stack, clients.data, stack);
      // SQS refuses the name of a deleted queue for 60 seconds.
      throw new Error('Nothing was deployed. Remove the cause, wait for a minute, and deploy again.');
    }
    const consequence =
      thrown.status === 'UPDATE_ROLLBACK_COMPLETE'
        ? `CloudFormation went back to the previous version of ${stackName}.`
        : 'docs/deploy.md#if-a-deployment-fails says how to continue.';
    throw new Error(`${thrown.message}\n${consequence}`, { cause: thrown });
  }
}

/** Calls the service, and prints what its users need. */
async function printSummary(
  { stage, region, settings }: StagePackage,
  options: DeployOptions,
  { request, pollMs, print }: CommandContext,
  { stack }: StageClients,
): Promise<void> {
  const ids = await listPhysicalIds(stack);
  const baseUrl = await readBaseUrl(stack, `${ids.get('ApiGatewayRestApi')}.execute-api.${region}`, stage);
  // This shell may be outside the VPC, and has no certificate of a client.
  if (isSet(settings['vpcEndpoints']) || isSet(settings['domainTruststore'])) {
    print('\nDeployed. The service was not called: it accepts only requests from its VPC or with a certificate.');
  } else {
    const key = options.key ?? (process.env['LAMBENT_KEY'] || undefined);
    print(`\nThe service responds. ${await callService(baseUrl, { key, request, pauseMs: pollMs })}`);
  }
  print(`  base URL          ${baseUrl}`);
  print(`  generation queue  ${ids.get('GenerationQueue')}`);
  print(`  bucket            ${ids.get('Bucket')}`);
  print(`  KMS key           ${ids.get('DataKey')}`);
  print(`\nNext: npm run admin -- bootstrap --stage ${stage} --region ${region}`);
}

/** Returns a client's base URL: the stack's output, which knows a domain of its own, or else that of the API. */
async function readBaseUrl(stack: StackContext, host: string, stage: string): Promise<string> {
  const outputs = (await describeStack(stack))?.Outputs ?? [];
  const output = outputs.find(({ OutputKey }) => OutputKey === 'BaseUrl')?.OutputValue;
  return output ?? `https://${host}.amazonaws.com/${stage}/v1`;
}

/** True for a text or list that isn't empty. */
function isSet(setting: unknown): boolean {
  return (typeof setting === 'string' || Array.isArray(setting)) && setting.length > 0;
}

if (import.meta.main) {
  await runCommandLine((args) => runDeployCommand(args, createShellContext()), DEPLOY_USAGE);
}
