import { join, resolve } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { Responder } from './bedrock/frames.ts';
import { startBedrock } from './bedrock/server.ts';
import { dummyCredentials, userCredentials } from './credentials.ts';
import type { Workers } from './engine/workers.ts';
import { nameVariables, publishEnvironment } from './environment-file.ts';
import { startEventSources } from './event-sources/event-sources.ts';
import { type FaultOptions, type Faults, startFaults } from './faults/faults.ts';
import { startGateway } from './gateway/gateway.ts';
import { type KmsStandIn, startKms } from './kms/server.ts';
import type { LogLine } from './lambda/environment.ts';
import { type ManagedFunctions, selectMode } from './lambda/function.ts';
import { startInvokeApi } from './lambda/invoke-api.ts';
import { type FunctionProcess, type Runner, startRunner } from './lambda/runner.ts';
import { type Logs, openLogs } from './logs.ts';
import { type Objects, startObjects } from './objects.ts';
import { runPhase } from './phases.ts';
import { type Queues, startQueues } from './queues.ts';
import { registerWorkers } from './register-workers.ts';
import { startSchedules } from './schedules.ts';
import { seedAccess } from './seed.ts';
import { LOCAL_STAGE } from './service/print.ts';
import { createReferences, type References } from './service/references.ts';
import { addReplyQueues } from './service/reply-queues.ts';
import { loadService, type Service } from './service/service.ts';
import { lockState } from './state.ts';
import { createTables, startTables, type Tables } from './tables.ts';

export interface CloudOptions {
  /** Folder of tables, objects, keys, logs and `env`. One cloud at a time can use it. */
  readonly stateDir: string;
  /** Answers calls of Bedrock: a responder in the stand-in, or AWS with the user's credentials. */
  readonly bedrock: Responder | 'aws';
  /** Port of the API; any free port when absent. */
  readonly port?: number;
  /** Folder of `serverless.yml`; the project's own when absent. */
  readonly root?: string;
  /** Folder of the bundles; `.build` of the root when absent. */
  readonly bundlesDir?: string;
  /** Variables for all functions, which override those of `serverless.yml`. */
  readonly environment?: Readonly<Record<string, string>>;
  /** AWS region; that of `serverless.yml` when absent. */
  readonly region?: string;
  /** GPU workers of this machine. They are named in `env`, and end with the cloud. */
  readonly gpuWorkers?: Workers;
  /** Determines settings that take time, once the state folder is locked. The stand-ins start meanwhile. */
  readonly prepare?: () => Promise<LateSettings>;
  /** Resolves when a function's bundle is complete; all bundles are complete when absent. */
  readonly whenBundled?: (name: string) => Promise<void>;
  readonly onLog?: (line: LogLine) => void;
  /** Milliseconds after which an idle function process ends. */
  readonly idleMs?: number;
  /** Concurrent invocations that functions without a reservation share. */
  readonly concurrency?: number;
  /** Functions that serve many invocations in one process, as on Lambda Managed Instances; none when absent. */
  readonly managedFunctions?: ManagedFunctions;
  /** False to run no function on its schedule; true when absent. */
  readonly schedules?: boolean;
  /** Puts faults between functions and DynamoDB, SQS, KMS and S3; none when absent. */
  readonly faults?: FaultOptions;
  /** False to deliver no messages of queues to functions; true when absent. */
  readonly eventSources?: boolean;
}

/** Settings that take time to determine. They override those of the same name in `CloudOptions`. */
export type LateSettings = Partial<Pick<CloudOptions, 'bedrock' | 'environment' | 'region' | 'gpuWorkers'>>;

export interface Cloud {
  /** Base URL for OpenAI clients: `http://127.0.0.1:3000/v1`. */
  readonly url: string;
  /** Endpoints of AWS services, by the variables that AWS's SDKs read: `AWS_ENDPOINT_URL_DYNAMODB`… */
  readonly endpoints: Readonly<Record<string, string>>;
  /**
   * Names of tables and buckets, URLs of queues and ids of keys, by their variables in `env`: `ACCESS_TABLE`,
   * `GENERATION_QUEUE_URL`, `BUCKET`, `VAULT_KEY_ID`; and some under the names that the functions use.
   */
  readonly resources: Readonly<Record<string, string>>;
  /** Invokes a function directly. */
  readonly invoke: Runner['invoke'];
  /** Lists the processes of functions at this moment. */
  processes(): FunctionProcess[];
  /** Counts the messages that functions are processing. */
  runningMessages(): number;
  /** Counts the pollers of a function's queues at this moment. */
  pollers(name: string): number;
  /** Restarts SQS: cuts its connections, waits for `downMs` milliseconds, and listens again with empty queues. */
  restartQueues(downMs?: number): Promise<void>;
  /** Changes and counts the faults; undefined without the option `faults`. */
  readonly faults: Faults | undefined;
  /** Lines for a person about parts of the service that do not run here. */
  readonly notices: readonly string[];
  /** Resolves when the first run of the `fleet` function has registered the GPU workers. */
  readonly workersRegistered: Promise<void>;
  /** Stops everything, processes included. */
  close(): Promise<void>;
}

/** Variables of functions that name resources which a laptop doesn't have. An empty variable counts as unset. */
const ABSENT_RESOURCES = { GPU_MAPPING_ID: '' };

/**
 * Starts the whole service on this machine: stand-ins for AWS's services, the functions' bundles in processes of their
 * own, and the HTTP front. Everything listens on 127.0.0.1 only.
 * @throws LambentError `configuration` if the service or the state can't be used; the system's error if the port is taken
 */
export async function startCloud(options: CloudOptions): Promise<Cloud> {
  const cleanup = new AsyncDisposableStack();
  try {
    return await compose(options, cleanup);
  } catch (error) {
    await cleanup.disposeAsync();
    throw error;
  }
}

async function compose(options: CloudOptions, cleanup: AsyncDisposableStack): Promise<Cloud> {
  const stateDir = resolve(options.stateDir);
  const closeLater = <T extends Closable>(part: T): T => cleanup.adopt(part, (each) => each.close());
  if (options.gpuWorkers !== undefined) closeLater(options.gpuWorkers);
  cleanup.defer(await lockState(stateDir));

  const [standIns, definition, { bedrock, gpuWorkers, environment, region = '' }] = await allSettled([
    runPhase('start stand-ins', () => startStandIns(stateDir, closeLater)),
    loadLocalService(options),
    completeOptions(options, closeLater),
  ]);
  const service = region === '' ? definition : { ...definition, region };
  const bedrockStandIn = bedrock === 'aws' ? undefined : closeLater(await startBedrock({ respond: bedrock }));
  const faults = options.faults && closeLater(await startFaults(options.faults, urlsOf(standIns)));
  const urls = faults?.urls ?? urlsOf(standIns);
  const keyArns = standIns.kms.create(service);
  const references = createReferences(service, urls.sqs, keyArns);
  const resources = await runPhase('create resources', () => createResources(service, standIns, references));

  // Functions have Lambda's endpoint as a variable, so it is known before the runner starts.
  const starting = Promise.withResolvers<Runner>();
  const invoke: Runner['invoke'] = async (name, ...call) => {
    await options.whenBundled?.(name);
    return (await starting.promise).invoke(name, ...call);
  };
  const invokeApi = closeLater(await startInvokeApi({ invoke }));
  const endpoints: Record<string, string> = {
    AWS_ENDPOINT_URL_DYNAMODB: urls.dynamodb,
    AWS_ENDPOINT_URL_SQS: urls.sqs,
    AWS_ENDPOINT_URL_S3: urls.s3,
    AWS_ENDPOINT_URL_KMS: urls.kms,
    AWS_ENDPOINT_URL_LAMBDA: invokeApi.url,
    ...(bedrockStandIn === undefined ? {} : { AWS_ENDPOINT_URL_BEDROCK_RUNTIME: bedrockStandIn.url }),
  };
  const functions = resolveFunctions(service, references, { ...endpoints, ...ABSENT_RESOURCES, ...environment });
  const runner = closeLater(
    await startRunner({
      functions: functions.map((each) => selectMode(each, options.managedFunctions ?? [])),
      region: service.region,
      credentials: bedrock === 'aws' ? await userCredentials() : dummyCredentials,
      onLog: (line) => {
        standIns.logs.write(line);
        options.onLog?.(line);
      },
      ...(options.idleMs === undefined ? {} : { idleMs: options.idleMs }),
      ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
    }),
  );
  starting.resolve(runner);
  const triggers = startTriggers({ service, options, references, queuesUrl: urls.sqs, invoke, closeLater });
  const gateway = closeLater(
    await startGateway({
      port: options.port ?? 0,
      api: {
        apiId: 'local',
        stage: service.stage,
        region: service.region,
        binaryMediaTypes: service.binaryMediaTypes,
      },
      routes: service.routes,
      responses: service.gatewayResponses,
      runner: { invoke },
    }),
  );
  const workersRegistered = registerWorkers({
    service,
    runner: { invoke },
    modelsFile: environment?.['MODELS_FILE'],
    gpuWorkers,
  });

  const url = `${gateway.url}/v1`;
  const variables = {
    ...nameVariables(resources.tables, ''),
    ...nameVariables(resources.buckets, ''),
    ...nameVariables(resources.queues, '_URL'),
    ...nameVariables(keyArns, '_ID'),
    ...keyVariable(functions),
    ...workersVariable(gpuWorkers),
  };
  cleanup.defer(await publishEnvironment(join(stateDir, 'env'), url, service.region, { ...endpoints, ...variables }));
  return {
    workersRegistered,
    url,
    endpoints,
    resources: variables,
    invoke,
    processes: runner.processes,
    runningMessages: triggers.eventSources.running,
    pollers: triggers.eventSources.pollers,
    restartQueues: standIns.queues.restart,
    faults,
    notices: triggers.notices,
    close: () => cleanup.disposeAsync(),
  };
}

interface Closable {
  close(): void | Promise<void>;
}
type CloseLater = <T extends Closable>(part: T) => T;

/** As `Promise.all`, but throws only when all have settled, so that a failed start leaves nothing that is still starting. */
async function allSettled<Work extends readonly unknown[] | []>(
  work: Work,
): Promise<{ -readonly [Index in keyof Work]: Awaited<Work[Index]> }> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

async function completeOptions(options: CloudOptions, closeLater: CloseLater): Promise<CloudOptions> {
  const late = await options.prepare?.();
  if (late?.gpuWorkers !== undefined) closeLater(late.gpuWorkers);
  return { ...options, ...late };
}

interface StandIns {
  readonly tables: Tables;
  readonly queues: Queues;
  readonly objects: Objects;
  readonly kms: KmsStandIn;
  readonly logs: Logs;
}

/** Starts the stand-ins that need no setting but the state folder. */
async function startStandIns(stateDir: string, closeLater: CloseLater): Promise<StandIns> {
  const [tables, queues, objects, kms, logs] = await allSettled([
    startTables({ path: join(stateDir, 'tables') }).then(closeLater),
    startQueues().then(closeLater),
    startObjects({ path: join(stateDir, 'objects') }).then(closeLater),
    startKms({ stateFile: join(stateDir, 'kms.json') }).then(closeLater),
    openLogs(join(stateDir, 'logs')).then(closeLater),
  ]);
  return { tables, queues, objects, kms, logs };
}

function urlsOf({ tables, queues, objects, kms }: StandIns) {
  return { dynamodb: tables.url, sqs: queues.url, s3: objects.url, kms: kms.url };
}

async function loadLocalService({ root, bundlesDir }: CloudOptions): Promise<Service> {
  const service = await loadService({
    root: root === undefined ? resolve(import.meta.dirname, '..') : resolve(root),
    stage: LOCAL_STAGE,
    ...(bundlesDir === undefined ? {} : { bundlesDir: resolve(bundlesDir) }),
  });
  return addReplyQueues(service);
}

/** Creates tables, queues and buckets. Returns their names, and the queues' URLs, by logical id. */
async function createResources(service: Service, standIns: StandIns, references: References) {
  const [tables, queues, buckets] = await Promise.all([
    prepareTables(standIns.tables.url, service, references),
    standIns.queues.create(service, references),
    standIns.objects.create(service, references),
  ]);
  return { tables, queues, buckets };
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

/** Resolves the functions' variables. Variables in `given` replace those of `serverless.yml`, which then may have any value. */
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

interface TriggerOptions {
  readonly service: Service;
  readonly options: CloudOptions;
  readonly references: References;
  readonly queuesUrl: string;
  readonly invoke: Runner['invoke'];
  readonly closeLater: CloseLater;
}

/** Starts what invokes functions besides the gateway: schedules, and the event source mappings of queues. */
function startTriggers({ service, options, references, queuesUrl, invoke, closeLater }: TriggerOptions) {
  const { region } = service;
  const schedules = options.schedules === false ? [] : service.schedules;
  const { unsupported } = closeLater(startSchedules({ schedules, region, runner: { invoke } }));
  const mapped = options.eventSources === false ? { ...service, eventSources: [] } : service;
  const eventSources = closeLater(startEventSources(mapped, references, queuesUrl, { invoke }));
  const notices = unsupported.map(
    ({ function: name, expression }) => `${name} does not run on its schedule here: ${expression}`,
  );
  return { eventSources, notices };
}

/** Returns the id of the key that wraps tenant keys, under the name that functions have it. */
function keyVariable(functions: readonly { readonly environment: Readonly<Record<string, string>> }[]) {
  const [KMS_KEY_ID] = functions.flatMap(({ environment }) => environment['KMS_KEY_ID'] ?? []);
  return KMS_KEY_ID === undefined ? {} : { KMS_KEY_ID };
}

/** Returns `GPU_WORKER_URLS`, separated by commas. */
function workersVariable({ workers }: Pick<Workers, 'workers'> = { workers: [] }): Record<string, string> {
  return workers.length === 0 ? {} : { GPU_WORKER_URLS: workers.map(({ url }) => url).join(',') };
}
