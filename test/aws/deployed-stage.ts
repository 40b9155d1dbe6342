import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { LambdaClient, ListEventSourceMappingsCommand, ListFunctionsCommand } from '@aws-sdk/client-lambda';
import { SQSClient } from '@aws-sdk/client-sqs';
import { vi } from 'vitest';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { deployPackage } from '../../infra/deploy/deploy.ts';
import { parseDeployOptions } from '../../infra/deploy/options.ts';
import { readStagePackage, type StagePackage } from '../../infra/deploy/stage-package.ts';
import { linkService, packageWithOsls } from '../../infra/osls-package.ts';
import { toVariables } from '../../local/credentials.ts';
import { startEventSource } from '../../local/event-sources/event-source.ts';
import { startGateway } from '../../local/gateway/gateway.ts';
import type { AuthorizerDefinition } from '../../local/gateway/routes.ts';
import type { FunctionDefinition } from '../../local/lambda/function.ts';
import { startRunner } from '../../local/lambda/runner.ts';
import { findByType } from '../infra/packaged.ts';
import { readZipEntries } from '../infra/zip.ts';
import { type DeployedApi, readApi } from './deployed-api.ts';
import { startMoto } from './moto.ts';
import { adaptToMoto } from './moto-template.ts';

export const REGION = 'eu-west-1';
const ACCOUNT = '123456789012';
const CREDENTIALS = { accessKeyId: 'test', secretAccessKey: 'test' };

const REFUSAL = {
  error: { message: 'Incorrect API key', type: 'invalid_request_error', param: null, code: 'invalid_api_key' },
};

/** A function as Lambda's API describes it after the deployment. */
export interface DeployedFunction {
  readonly functionName: string;
  readonly handler: string;
  readonly memoryMb: number;
  readonly timeoutSeconds: number;
  readonly variables: Readonly<Record<string, string>>;
  /** SHA-256 of the zip, base64. */
  readonly sha256: string;
}

export interface DeployedMapping {
  readonly functionName: string;
  readonly queueArn: string;
  readonly batchSize: number;
  readonly partialFailures: boolean;
}

/** A stage in moto, and its functions behind a gateway on this machine. */
export interface DeployedStage extends AsyncDisposable {
  readonly packaged: StagePackage;
  readonly functions: readonly DeployedFunction[];
  readonly mappings: readonly DeployedMapping[];
  readonly api: DeployedApi;
  /** The settings of a client of any AWS service. */
  readonly clientConfig: object;
  /** Base URL for OpenAI clients. */
  readonly url: string;
}

/**
 * Packages a stage with a models file, deploys it to moto with `npm run deploy`'s own code, and reads back what was
 * deployed. Runs the functions with exactly the zips, variables, routes and event source mappings that moto describes.
 */
export async function deployStage(models: object): Promise<DeployedStage> {
  await using open = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'lambent-deployed-'));
  open.defer(() => rm(folder, { recursive: true, force: true }));
  const moto = open.adopt(await startMoto(), (each) => each.stop());
  const clientConfig = { region: REGION, endpoint: moto.url, credentials: CREDENTIALS, forcePathStyle: true };
  const modelsFile = join(folder, 'models.json');
  await writeFile(modelsFile, JSON.stringify(models));
  const packaged = await packageService(folder, modelsFile);
  // The preflight checks the models of this file.
  vi.stubEnv('MODELS_FILE', modelsFile);
  open.defer(() => void vi.unstubAllEnvs());
  await deployPackage(packaged, parseDeployOptions(['--packaged']), {
    clientConfig: { endpoint: moto.url, credentials: CREDENTIALS },
    stagesFile: join(folder, 'stages.json'),
    print: () => {},
    ask: async () => undefined,
    // The deployment ends with a request to the API, which moto doesn't serve.
    request: async () => Response.json(REFUSAL, { status: 401 }),
    pollMs: 1,
  });

  const lambda = open.adopt(new LambdaClient(clientConfig), (each) => each.destroy());
  const [functions, mappings, api] = await Promise.all([
    readFunctions(lambda),
    readMappings(lambda),
    readApi(moto.url, REGION, describeAuthorizer(packaged)),
  ]);
  const zips = join(folder, 'zips');
  const runner = open.adopt(
    await startRunner({
      region: REGION,
      functions: await Promise.all(functions.map((each) => unpack(each, packaged, zips, moto.url))),
      credentials: async () => ({
        ...CREDENTIALS,
        variables: toVariables(CREDENTIALS),
        expiresAt: Number.POSITIVE_INFINITY,
      }),
    }),
    (each) => each.close(),
  );
  const sqs = open.adopt(new SQSClient(clientConfig), (each) => each.destroy());
  for (const { functionName, queueArn, ...mapping } of mappings) {
    const queueUrl = `${moto.url}/${ACCOUNT}/${queueArn.slice(queueArn.lastIndexOf(':') + 1)}`;
    const source = { ...mapping, function: functionName, queueArn, queueUrl, windowMs: 0, maximumConcurrency: 2 };
    open.adopt(startEventSource({ ...source, client: sqs, runner, waitSeconds: 1 }), (each) => each.close());
  }
  const identity = { apiId: api.id, stage: 'dev', region: REGION, binaryMediaTypes: [] };
  const gateway = open.adopt(
    await startGateway({ port: 0, api: identity, routes: api.routes, responses: [], runner }),
    (each) => each.close(),
  );
  const opened = open.move();
  return {
    ...{ packaged, functions, mappings, api, clientConfig },
    url: `${gateway.url}/v1`,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

async function packageService(folder: string, modelsFile: string): Promise<StagePackage> {
  const serviceDir = join(folder, 'service');
  const outDir = join(serviceDir, '.serverless');
  await mkdir(serviceDir);
  await linkService(serviceDir);
  await bundleFunctions({ outDir: join(serviceDir, '.build'), models: modelsFile });
  await packageWithOsls({ serviceDir, outDir, args: ['--stage', 'dev'], models: modelsFile });
  const packaged = await readStagePackage(outDir);
  return { ...packaged, template: adaptToMoto(packaged.template) };
}

function describeAuthorizer({ template, stackName }: StagePackage): AuthorizerDefinition {
  const [authorizer] = findByType(template, 'AWS::ApiGateway::Authorizer');
  const { IdentitySource, AuthorizerResultTtlInSeconds } = Object(authorizer?.properties);
  return {
    function: `${stackName}-authorize`,
    identityHeaders: [String(IdentitySource).replace('method.request.header.', '').toLowerCase()],
    ttlMs: Number(AuthorizerResultTtlInSeconds) * 1_000,
  };
}

async function readFunctions(lambda: LambdaClient): Promise<DeployedFunction[]> {
  const { Functions = [] } = await lambda.send(new ListFunctionsCommand({}));
  return Functions.map((each) => ({
    functionName: each.FunctionName ?? '',
    handler: each.Handler ?? '',
    memoryMb: each.MemorySize ?? 0,
    timeoutSeconds: each.Timeout ?? 0,
    variables: each.Environment?.Variables ?? {},
    sha256: each.CodeSha256 ?? '',
  }));
}

async function readMappings(lambda: LambdaClient): Promise<DeployedMapping[]> {
  const { EventSourceMappings = [] } = await lambda.send(new ListEventSourceMappingsCommand({}));
  return EventSourceMappings.map((each) => ({
    functionName: (each.FunctionArn ?? '').replace(/^.*:function:/, ''),
    queueArn: each.EventSourceArn ?? '',
    batchSize: each.BatchSize ?? 0,
    partialFailures: each.FunctionResponseTypes?.includes('ReportBatchItemFailures') ?? false,
  }));
}

/** Extracts the zip that a deployed function has. Returns the function's definition for the runner. */
async function unpack(
  deployed: DeployedFunction,
  { folder, artefacts }: StagePackage,
  target: string,
  endpoint: string,
): Promise<FunctionDefinition> {
  const { functionName, handler, memoryMb, timeoutSeconds, variables, sha256 } = deployed;
  const zip = artefacts.find((each) => Buffer.from(each.sha256, 'hex').toString('base64') === sha256);
  if (zip === undefined) throw new Error(`${functionName} has none of the packaged zips`);
  const taskRoot = join(target, functionName);
  for (const [path, content] of readZipEntries(await readFile(join(folder, zip.file)))) {
    await mkdir(dirname(join(taskRoot, path)), { recursive: true });
    await writeFile(join(taskRoot, path), content);
  }
  const services = ['DYNAMODB', 'KMS', 'LAMBDA', 'S3', 'SQS'];
  return {
    ...{ name: functionName, functionName, taskRoot, handler, memoryMb, background: false },
    timeoutMs: timeoutSeconds * 1_000,
    environment: {
      ...variables,
      // moto is slow on a busy machine, but not broken.
      AWS_TIMEOUT_FACTOR: '20',
      ...Object.fromEntries(services.map((name) => [`AWS_ENDPOINT_URL_${name}`, endpoint])),
    },
  };
}
