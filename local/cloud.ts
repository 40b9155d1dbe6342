import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import type { Responder } from './bedrock/frames.ts';
import { startBedrock } from './bedrock/server.ts';
import { dummyCredentials, userCredentials } from './credentials.ts';
import type { Workers } from './engine/workers.ts';
import { startEventSources } from './event-sources/event-sources.ts';
import { type FaultOptions, type Faults, startFaults } from './faults/faults.ts';
import { startGateway } from './gateway/gateway.ts';
import { createKeys } from './kms/keys.ts';
import { startKms } from './kms/server.ts';
import type { LogLine } from './lambda/environment.ts';
import { type ManagedFunctions, selectMode } from './lambda/function.ts';
import { startInvokeApi } from './lambda/invoke-api.ts';
import { type FunctionProcess, type Runner, startRunner } from './lambda/runner.ts';
import { openLogs } from './logs.ts';
import { startObjects } from './objects.ts';
import { startQueues } from './queues.ts';
import { runSchedule, startSchedules } from './schedules.ts';
import { seedAccess } from './seed.ts';
import { createReferences, type References } from './service/references.ts';
import { withReplyQueues } from './service/reply-queues.ts';
import { loadService, type Service } from './service/service.ts';
import { holdState } from './state.ts';
import { createTables, startTables } from './tables.ts';

export interface CloudOptions {
  /** Folder that keeps tables, objects, messages, keys, logs and `env`; one cloud at a time. */
  readonly stateDir: string;
  /** Who answers as Bedrock: a stand-in's responder, or AWS itself with the user's own credentials. */
  readonly bedrock: Responder | 'aws';
  /** Port of the API; any free one when absent. */
  readonly port?: number;
  /** Folder of `serverless.yml`; the project's own when absent. */
  readonly root?: string;
  /** Folder of the bundles; `.build` of the root when absent. */
  readonly bundlesDir?: string;
  /** Variables for all functions, before those of `serverless.yml`. */
  readonly environment?: Readonly<Record<string, string>>;
  /** AWS region; that of `serverless.yml` when absent. */
  readonly region?: string;
  readonly onLog?: (line: LogLine) => void;
  /** Milliseconds without work after which a function's process ends. */
  readonly idleMs?: number;
  /** Invocations at once that functions without a reservation share. */
  readonly concurrency?: number;
  /** Functions that serve many invocations in one process, as on Lambda Managed Instances; none when absent. */
  readonly managedFunctions?: ManagedFunctions;
  /** Whether functions run on their schedules; true when absent. */
  readonly schedules?: boolean;
  /** Puts faults between functions and DynamoDB, SQS, KMS and S3; none when absent. */
  readonly faults?: FaultOptions;
  /** Whether functions get the messages of their queues; true when absent. */
  readonly eventSources?: boolean;
  /** GPU workers of this machine: they are named in `env`, and end with the cloud. */
  readonly gpuWorkers?: Workers;
}

export interface Cloud {
  /** Base URL for OpenAI clients: `http://127.0.0.1:3000/v1`. */
  readonly url: string;
  /** What functions find each AWS service by: `AWS_ENDPOINT_URL_DYNAMODB`… */
  readonly endpoints: Readonly<Record<string, string>>;
  /**
   * Names of tables and buckets, URLs of queues and ARNs of keys, by the variables that `env` has them under:
   * `ACCESS_TABLE`, `GENERATION_QUEUE_URL`, `BUCKET`, `VAULT_KEY_ID`; and what the functions themselves know them by.
   */
  readonly resources: Readonly<Record<string, string>>;
  /** Invokes a function directly. */
  readonly invoke: Runner['invoke'];
  /** The processes that functions have at this moment. */
  processes(): FunctionProcess[];
  /** Messages that functions are at work on. */
  runningMessages(): number;
  /** Pollers that the mappings of a function's queues have at this moment. */
  pollers(name: string): number;
  /** Empties every queue and restarts SQS, which cuts its connections, after `downMs` milliseconds without it. */
  restartQueues(downMs?: number): Promise<void>;
  /** The faults that were asked for. */
  readonly faults: Faults | undefined;
  /** What the cloud leaves out of the service, for a person. */
  readonly notices: readonly string[];
  /** Ends all of it, processes included. */
  close(): Promise<void>;
}

/** The stage whose settings apply on a laptop. */
const STAGE = 'local';

/** Variables of functions that name what a laptop doesn't have. An empty variable is an unset one. */
const NOT_HERE = { GPU_MAPPING_ID: '' };

/**
 * Starts the whole service on this machine: stand-ins for AWS's services, the functions' bundles in processes of their
 * own, and the HTTP front. All of it listens on 127.0.0.1 only.
 * @throws LambentError `configuration` when the service or the state can't be used; the system's error for a taken port
 */
export async function startCloud(options: CloudOptions): Promise<Cloud> {
  const open = new AsyncDisposableStack();
  try {
    return await compose(options, open);
  } catch (error) {
    await open.disposeAsync();
    throw error;
  }
}

async function compose(options: CloudOptions, open: AsyncDisposableStack): Promise<Cloud> {
  const stateDir = resolve(options.stateDir);
  const keep = <T extends { close(): void | Promise<void> }>(part: T): T => open.adopt(part, (each) => each.close());

  if (options.gpuWorkers !== undefined) keep(options.gpuWorkers);
  open.defer(await holdState(stateDir));
  const service = await loadServiceOf(options);
  const { region } = service;
  const [tables, queues, objects, kms, bedrock, logs] = await Promise.all([
    startTables({ path: join(stateDir, 'tables') }).then(keep),
    startQueues().then(keep),
    startObjects({ path: join(stateDir, 'objects') }).then(keep),
    startKms({ stateFile: join(stateDir, 'kms.json') }).then(keep),
    options.bedrock === 'aws' ? undefined : startBedrock({ respond: options.bedrock }).then(keep),
    openLogs(join(stateDir, 'logs')).then(keep),
  ]);
  const standIns = { dynamodb: tables.url, sqs: queues.url, kms: kms.url, s3: objects.url };
  const faults = options.faults && keep(await startFaults(options.faults, standIns));
  const reached = faults?.urls ?? standIns;
  const keyArns = await createKeys(kms.url, service);
  const references = createReferences(service, reached.sqs, keyArns);
  const [tableNames, queueUrls, bucketNames] = await Promise.all([
    prepareTables(tables.url, service, references),
    queues.create(service, references),
    objects.create(service, references),
  ]);

  // Lambda's own endpoint is a variable of the functions that it runs, so it is known before it can serve.
  let runner: Runner | undefined;
  const invoke: Runner['invoke'] = async (...call) => {
    if (runner === undefined) throw new Error('The runner has not started');
    return runner.invoke(...call);
  };
  const invokeApi = keep(await startInvokeApi({ invoke }));
  const endpoints: Record<string, string> = {
    AWS_ENDPOINT_URL_DYNAMODB: reached.dynamodb,
    AWS_ENDPOINT_URL_SQS: reached.sqs,
    AWS_ENDPOINT_URL_S3: reached.s3,
    AWS_ENDPOINT_URL_KMS: reached.kms,
    AWS_ENDPOINT_URL_LAMBDA: invokeApi.url,
    ...(bedrock === undefined ? {} : { AWS_ENDPOINT_URL_BEDROCK_RUNTIME: bedrock.url }),
  };
  const functions = resolveFunctions(service, references, { ...endpoints, ...NOT_HERE, ...options.environment });
  runner = keep(
    await startRunner({
      functions: functions.map((definition) => selectMode(definition, options.managedFunctions ?? [])),
      region,
      credentials: options.bedrock === 'aws' ? await userCredentials() : dummyCredentials,
      onLog: (line) => {
        logs.write(line);
        options.onLog?.(line);
      },
      ...(options.idleMs === undefined ? {} : { idleMs: options.idleMs }),
      ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
    }),
  );
  const due = options.schedules === false ? [] : service.schedules;
  const { unsupported } = keep(startSchedules({ schedules: due, region, runner }));
  if (namesFleets(options.environment)) await learnOfWorkers(service, runner, options.gpuWorkers);
  const mapped = options.eventSources === false ? { ...service, eventSources: [] } : service;
  const eventSources = keep(startEventSources(mapped, references, reached.sqs, runner));
  const gateway = keep(
    await startGateway({
      port: options.port ?? 0,
      api: { apiId: 'local', stage: service.stage, region, binaryMediaTypes: service.binaryMediaTypes },
      routes: service.routes,
      responses: service.gatewayResponses,
      runner,
    }),
  );

  const url = `${gateway.url}/v1`;
  const resources = {
    ...variables(tableNames, ''),
    ...variables(bucketNames, ''),
    ...variables(queueUrls, '_URL'),
    ...variables(keyArns, '_ID'),
    ...keyOfFunctions(functions),
    ...workerUrls(options.gpuWorkers),
  };
  const environmentFile = join(stateDir, 'env');
  await writeFile(environmentFile, environmentScript(url, region, { ...endpoints, ...resources }));
  open.defer(() => rm(environmentFile, { force: true }));
  return {
    url,
    endpoints,
    resources,
    invoke,
    processes: runner.processes,
    runningMessages: eventSources.running,
    pollers: eventSources.pollers,
    restartQueues: queues.restart,
    faults,
    notices: unsupported.map(
      ({ function: name, expression }) => `${name} does not run on its schedule here: ${expression}`,
    ),
    close: () => open.disposeAsync(),
  };
}

/** Whether the registry that the functions get has GPU workers. */
function namesFleets({ MODELS_FILE }: Readonly<Record<string, string>> = {}): boolean {
  // A file that isn't there is the functions' to complain about.
  if (MODELS_FILE === undefined || !existsSync(MODELS_FILE)) return false;
  const { fleets } = readModelRegistry(MODELS_FILE);
  return Object.keys(fleets).length > 0;
}

/** Milliseconds that workers are waited for. One that isn't well by then is used as soon as it is. */
const LEARN_MS = 5_000;

/**
 * Has the workers registered at once, so that whoever starts a cloud needn't wait for the schedule to come round, and those of
 * this machine again when they have started anew, which in AWS an event of ECS tells.
 */
async function learnOfWorkers({ schedules, region }: Service, runner: Runner, workers?: Workers): Promise<void> {
  const own = schedules.filter(({ function: name }) => name === 'fleet');
  let looking = false;
  const look = async (): Promise<void> => {
    // A run goes on looking at what is out of service. One for each start of a worker that keeps ending would leave no room for others.
    if (looking) return;
    looking = true;
    await Promise.all(own.map((schedule) => runSchedule(schedule, region, runner)));
    looking = false;
  };
  workers?.onRestart(() => void look());
  await Promise.race([look(), sleep(LEARN_MS, undefined, { ref: false })]);
}

/** `GPU_WORKER_URLS`, with commas between them. */
function workerUrls({ workers }: Pick<Workers, 'workers'> = { workers: [] }): Record<string, string> {
  return workers.length === 0 ? {} : { GPU_WORKER_URLS: workers.map(({ url }) => url).join(',') };
}

async function loadServiceOf({ root, bundlesDir, region }: CloudOptions): Promise<Service> {
  const service = withReplyQueues(
    await loadService({
      root: root === undefined ? resolve(import.meta.dirname, '..') : resolve(root),
      stage: STAGE,
      ...(bundlesDir === undefined ? {} : { bundlesDir: resolve(bundlesDir) }),
    }),
  );
  return region === undefined ? service : { ...service, region };
}

async function prepareTables(
  endpoint: string,
  service: Service,
  references: References,
): Promise<Record<string, string>> {
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const client = new DynamoDBClient({ endpoint, region: service.region, credentials });
  try {
    const names = await createTables(client, service, references);
    if (names['AccessTable'] !== undefined) await seedAccess(client, names['AccessTable']);
    return names;
  } finally {
    client.destroy();
  }
}

/** The functions with their environments whole. A variable that is given needs no meaning in `serverless.yml`. */
function resolveFunctions(service: Service, references: References, given: Readonly<Record<string, string>>) {
  return service.functions.map((definition) => {
    const own = Object.entries(definition.environment)
      .filter(([name]) => !Object.hasOwn(given, name))
      .map(([name, value]) => [
        name,
        String(references.resolve(value, `functions.${definition.name}.environment.${name}`)),
      ]);
    return { ...definition, environment: { ...Object.fromEntries(own), ...given } };
  });
}

/** The key that functions wrap tenants' keys with, under the name that they know it by. */
function keyOfFunctions(functions: readonly { readonly environment: Readonly<Record<string, string>> }[]) {
  const [KMS_KEY_ID] = functions.flatMap(({ environment }) => environment['KMS_KEY_ID'] ?? []);
  return KMS_KEY_ID === undefined ? {} : { KMS_KEY_ID };
}

/** `AccessTable` is the variable `ACCESS_TABLE`. */
function variables(byLogicalId: Readonly<Record<string, string>>, suffix: string): Record<string, string> {
  const upper = (logicalId: string) => logicalId.replace(/(?<=[a-z0-9])(?=[A-Z])/g, '_').toUpperCase();
  return Object.fromEntries(
    Object.entries(byLogicalId).map(([logicalId, value]) => [`${upper(logicalId)}${suffix}`, value]),
  );
}

/** A shell script after which the AWS CLI, and any program with an AWS SDK, finds this cloud. */
function environmentScript(url: string, region: string, values: Readonly<Record<string, string>>): string {
  const lines = Object.entries({
    LAMBENT_URL: url,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    ...values,
  });
  return `# source this file to reach the laptop cloud with AWS tools\n${lines.map(([name, value]) => `export ${name}=${value}\n`).join('')}`;
}
