import { join, resolve } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { type AccessKey, type AccessKeys, loadAccessKey } from './access/access-keys.ts';
import type { Responder } from './bedrock/frames.ts';
import type { Guardrails } from './bedrock/guardrails.ts';
import { startBedrock } from './bedrock/server.ts';
import { type Credentials, createUserCredentialProvider } from './credentials.ts';
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
import { type LogSubscriptions, startLogSubscriptions } from './log-subscriptions.ts';
import { type Logs, openLogs } from './logs.ts';
import { type Objects, startObjects } from './objects.ts';
import { runPhase } from './phases.ts';
import { type Queues, startQueues } from './queues.ts';
import { registerWorkers } from './register-workers.ts';
import { startSchedules } from './schedules.ts';
import { LOCAL_ADMIN_KEY, seedAccess, seedProject } from './seed.ts';
import { LOCAL_STAGE } from './service/print.ts';
import { createReferences, type References } from './service/references.ts';
import { addReplyQueues } from './service/reply-queues.ts';
import { loadService, type Service } from './service/service.ts';
import { lockState, narrowModes } from './state.ts';
import { createTables, startTables, type Tables } from './tables.ts';

export interface CloudOptions {
  /** Folder of tables, objects, keys, logs and `env`. One cloud at a time can use it. */
  readonly stateDir: string;
  /** Responder of the Bedrock stand-in, or `aws` to call Bedrock in AWS with the user's credentials. */
  readonly bedrock: Responder | 'aws';
  /** The guardrails of the Bedrock stand-in; none when absent. */
  readonly guardrails?: Guardrails;
  /** Port of the API; any free port when absent. */
  readonly port?: number;
  /** Host names, without port, under which the API is called, besides those of this machine. */
  readonly hosts?: readonly string[];
  /** Folder of `serverless.yml`; the project's own when absent. */
  readonly root?: string;
  /** Folder of the bundles; `.build` of the root when absent. */
  readonly bundlesDir?: string;
  /** Variables for all functions, which override those of `serverless.yml`. */
  readonly environment?: Readonly<Record<string, string>>;
  /** AWS region; that of `serverless.yml` when absent. */
  readonly region?: string;
  /** GPU workers on this machine. `env` lists their URLs. `close` stops them. */
  readonly gpuWorkers?: Workers;
  /**
   * Returns the settings that take time to determine. Called once the state folder is locked, while stand-ins start.
   */
  readonly prepare?: () => Promise<LateSettings>;
  /** Resolves when a function's bundle is complete; all bundles are complete when absent. */
  readonly whenBundled?: (name: string) => Promise<void>;
  readonly onLog?: (line: LogLine) => void;
  /** Milliseconds after which an idle function process is stopped. */
  readonly idleMs?: number;
  /** Number of concurrent invocations that functions without reserved concurrency share. */
  readonly concurrency?: number;
  /** Functions that serve many invocations in one process, as on Lambda Managed Instances; none when absent. */
  readonly managedFunctions?: ManagedFunctions;
  /** False to run no function on its schedule; true when absent. */
  readonly schedules?: boolean;
  /** Faults to inject between functions and DynamoDB, SQS, KMS and S3; none when absent. */
  readonly faults?: FaultOptions;
  /** The share of queue messages that others overtake, from 0 to 1; none when absent. */
  readonly overtaken?: number;
  /** False to deliver no queue messages to functions; true when absent. */
  readonly eventSources?: boolean;
  /** False to deliver no log lines to functions; true when absent. */
  readonly logSubscriptions?: boolean;
  /** Path of the runtime that each function's process runs; our own when absent. */
  readonly runtime?: string;
}

/** Settings that take time to determine. They override those of the same name in `CloudOptions`. */
export type LateSettings = Partial<Pick<CloudOptions, 'bedrock' | 'environment' | 'region' | 'gpuWorkers'>>;

export interface Cloud {
  /** Base URL for OpenAI clients: `http://127.0.0.1:3000/v1`. */
  readonly url: string;
  /** Endpoints of AWS services, by the variable that AWS's SDKs read: `AWS_ENDPOINT_URL_DYNAMODB`… */
  readonly endpoints: Readonly<Record<string, string>>;
  /** The credentials with which requests to the endpoints must be signed. */
  readonly credentials: AccessKey;
  /**
   * Names of tables and buckets, URLs of queues and ids of keys, by the name of their variable in `env`:
   * `ACCESS_TABLE`, `GENERATION_QUEUE_URL`, `BUCKET`, `VAULT_KEY_ID`. Some are also listed under the names that the
   * functions use.
   */
  readonly resources: Readonly<Record<string, string>>;
  /** Invokes a function directly. */
  readonly invoke: Runner['invoke'];
  /** Lists the running processes of functions. */
  processes(): FunctionProcess[];
  /** Counts the messages that functions are processing. */
  runningMessages(): number;
  /** Counts the running pollers of a function's queues. */
  pollers(name: string): number;
  /** Restarts SQS: cuts its connections, waits for `downMs` milliseconds, and listens again with empty queues. */
  restartQueues(downMs?: number): Promise<void>;
  /** Changes and counts the injected faults; undefined without the option `faults`. */
  readonly faults: Faults | undefined;
  /** Lines to print about parts of the service that do not run locally. */
  readonly notices: readonly string[];
  /** Resolves when the first run of the `fleet` function has registered the GPU workers. */
  readonly workersRegistered: Promise<void>;
  /** Stops everything, processes included. */
  close(): Promise<void>;
}

/** Variables that name resources which don't exist locally. An empty variable counts as unset. */
const ABSENT_RESOURCES = { GPU_MAPPING_ID: '' };

/** Variables that no deployed stage has: token issuers may run on this machine. */
const LOCAL_ONLY = { LOOPBACK_ISSUERS: 'allowed' };

/** The stand-ins share this machine's processors with the functions. When it is busy, they are slow but not broken. */
const PATIENCE = { AWS_TIMEOUT_FACTOR: '20' };
/**
 * Milliseconds that a function's process may take to load. Background functions have the lowest priority: when the machine is
 * busy, that is longer than AWS allows.
 */
const INIT_TIMEOUT_MS = 120_000;

/**
 * Starts the whole service on this machine: stand-ins for AWS services, a process per execution environment for the
 * functions' bundles, and an HTTP server in place of API Gateway. All servers listen on 127.0.0.1 only.
 * @throws LambentError `configuration` if the service's definition or the state folder is not usable
 * @throws Error `EADDRINUSE` if the port is in use
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
  await narrowModes(stateDir);
  const credentials = await loadAccessKey(stateDir);
  const accessKeys: AccessKeys = new Map([[credentials.accessKeyId, credentials]]);

  const [standIns, definition, { bedrock, gpuWorkers, environment, region = '' }] = await awaitAll([
    runPhase('start stand-ins', () =>
      startStandIns({ stateDir, accessKeys, overtaken: options.overtaken ?? 0 }, closeLater),
    ),
    loadLocalService(options),
    completeOptions(options, closeLater),
  ]);
  const service = region === '' ? definition : { ...definition, region };
  const bedrockStandIn =
    bedrock === 'aws'
      ? undefined
      : closeLater(await startBedrock({ respond: bedrock, guardrails: options.guardrails, accessKeys }));
  const faults = options.faults && closeLater(await startFaults(options.faults, getUrls(standIns)));
  const urls = faults?.urls ?? getUrls(standIns);
  const keyArns = standIns.kms.create(service);
  const references = createReferences(service, urls.sqs, keyArns);
  const resources = await runPhase('create resources', () =>
    createResources(service, standIns, references, credentials),
  );

  // Functions get the endpoint of the Lambda API as a variable, so its server starts before the runner.
  const starting = Promise.withResolvers<Runner>();
  const invoke: Runner['invoke'] = async (name, ...call) => {
    await options.whenBundled?.(name);
    return (await starting.promise).invoke(name, ...call);
  };
  const invokeApi = closeLater(await startInvokeApi({ invoke }, { accessKeys }));
  const endpoints: Record<string, string> = {
    AWS_ENDPOINT_URL_DYNAMODB: urls.dynamodb,
    AWS_ENDPOINT_URL_SQS: urls.sqs,
    AWS_ENDPOINT_URL_S3: urls.s3,
    AWS_ENDPOINT_URL_KMS: urls.kms,
    AWS_ENDPOINT_URL_LAMBDA: invokeApi.url,
    ...(bedrockStandIn === undefined ? {} : { AWS_ENDPOINT_URL_BEDROCK_RUNTIME: bedrockStandIn.url }),
  };
  const functions = resolveFunctions(service, references, {
    ...endpoints,
    ...ABSENT_RESOURCES,
    ...LOCAL_ONLY,
    ...PATIENCE,
    ...environment,
  });
  let subscriptions: LogSubscriptions | undefined;
  const runner = closeLater(
    await startRunner({
      functions: functions.map((each) => selectMode(each, options.managedFunctions ?? [])),
      region: service.region,
      initTimeoutMs: INIT_TIMEOUT_MS,
      credentials: await createCredentialProvider(bedrock === 'aws', credentials, accessKeys),
      onLog: (line) => {
        standIns.logs.write(line);
        subscriptions?.write(line);
        options.onLog?.(line);
      },
      ...(options.idleMs === undefined ? {} : { idleMs: options.idleMs }),
      ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency }),
      ...(options.runtime === undefined ? {} : { runtime: options.runtime }),
    }),
  );
  starting.resolve(runner);
  if (options.logSubscriptions !== false) {
    subscriptions = closeLater(startLogSubscriptions(service.logSubscriptions, { invoke }));
  }
  const triggers = startTriggers({
    service,
    options,
    references,
    queuesUrl: urls.sqs,
    credentials,
    invoke,
    closeLater,
  });
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
      callers: { hosts: options.hosts ?? [], origin: service.corsOrigin },
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
    ...getKeyVariable(functions),
    ...getRecordVariable(service),
    ...createWorkersVariable(gpuWorkers),
  };
  const published = { ...endpoints, ...variables, LAMBENT_ADMIN_KEY: LOCAL_ADMIN_KEY };
  cleanup.defer(await publishEnvironment(join(stateDir, 'env'), url, service.region, credentials, published));
  return {
    workersRegistered,
    url,
    endpoints,
    credentials,
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

/**
 * Like `Promise.all`, but waits until all promises have settled before it throws, so that no part is still starting.
 */
async function awaitAll<Work extends readonly unknown[] | []>(
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

/**
 * Returns a function that provides the credentials of functions' processes. If they are the user's own, for Bedrock in
 * AWS, stand-ins accept them too: a process has one set of credentials for all of its AWS clients.
 */
async function createCredentialProvider(
  usesAws: boolean,
  own: AccessKey,
  accessKeys: AccessKeys,
): Promise<() => Promise<Credentials>> {
  if (!usesAws) return async () => ({ ...own, expiresAt: Number.POSITIVE_INFINITY });
  const provide = await createUserCredentialProvider();
  return async () => {
    const credentials = await provide();
    accessKeys.set(credentials.accessKeyId, credentials);
    return credentials;
  };
}

interface StandIns {
  readonly tables: Tables;
  readonly queues: Queues;
  readonly objects: Objects;
  readonly kms: KmsStandIn;
  readonly logs: Logs;
}

interface StandInOptions {
  readonly stateDir: string;
  readonly accessKeys: AccessKeys;
  readonly overtaken: number;
}

/** Starts the stand-ins that don't depend on the service's definition. */
async function startStandIns(
  { stateDir, accessKeys, overtaken }: StandInOptions,
  closeLater: CloseLater,
): Promise<StandIns> {
  const [tables, queues, objects, kms, logs] = await awaitAll([
    startTables({ path: join(stateDir, 'tables'), accessKeys }).then(closeLater),
    startQueues({ overtaken, accessKeys }).then(closeLater),
    startObjects({ path: join(stateDir, 'objects'), accessKeys }).then(closeLater),
    startKms({ stateFile: join(stateDir, 'kms.json'), accessKeys }).then(closeLater),
    openLogs(join(stateDir, 'logs')).then(closeLater),
  ]);
  return { tables, queues, objects, kms, logs };
}

function getUrls({ tables, queues, objects, kms }: StandIns) {
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

/** Creates tables, queues and buckets. Returns the tables' and buckets' names and the queues' URLs by logical id. */
async function createResources(service: Service, standIns: StandIns, references: References, credentials: AccessKey) {
  const [tables, queues, buckets] = await Promise.all([
    prepareTables(standIns.tables.url, service, references, credentials),
    standIns.queues.create(service, references),
    standIns.objects.create(service, references),
  ]);
  return { tables, queues, buckets };
}

async function prepareTables(
  endpoint: string,
  service: Service,
  references: References,
  credentials: AccessKey,
): Promise<Record<string, string>> {
  const client = new DynamoDBClient({ endpoint, region: service.region, credentials });
  try {
    const names = await createTables(client, service, references);
    if (names['AccessTable'] !== undefined) await seedAccess(client, names['AccessTable']);
    if (names['AdminTable'] !== undefined) await seedProject(client, names['AdminTable']);
    return names;
  } finally {
    client.destroy();
  }
}

/** Resolves the functions' variables. `overrides` replace those of `serverless.yml`, which then need no local value. */
function resolveFunctions(service: Service, references: References, overrides: Readonly<Record<string, string>>) {
  return service.functions.map((definition) => {
    const own = Object.entries(definition.environment)
      .filter(([name]) => !Object.hasOwn(overrides, name))
      .map(([name, value]) => [
        name,
        String(references.resolve(value, `functions.${definition.name}.environment.${name}`)),
      ]);
    return { ...definition, environment: { ...Object.fromEntries(own), ...overrides } };
  });
}

interface TriggerOptions {
  readonly service: Service;
  readonly options: CloudOptions;
  readonly references: References;
  readonly queuesUrl: string;
  readonly credentials: AccessKey;
  readonly invoke: Runner['invoke'];
  readonly closeLater: CloseLater;
}

/** Starts the triggers other than the gateway: schedules, and the event source mappings of queues. */
function startTriggers({ service, options, references, queuesUrl, credentials, invoke, closeLater }: TriggerOptions) {
  const { region } = service;
  const schedules = options.schedules === false ? [] : service.schedules;
  const { unsupported } = closeLater(startSchedules({ schedules, region, runner: { invoke } }));
  const mapped = options.eventSources === false ? { ...service, eventSources: [] } : service;
  const eventSources = closeLater(startEventSources(mapped, references, queuesUrl, credentials, { invoke }));
  const notices = unsupported.map(
    ({ function: name, expression }) => `${name} does not run on its schedule locally: ${expression}`,
  );
  return { eventSources, notices };
}

/** Returns `KMS_KEY_ID`, the id of the key that wraps tenant keys; no variable if no function has it. */
function getKeyVariable(functions: readonly { readonly environment: Readonly<Record<string, string>> }[]) {
  const [KMS_KEY_ID] = functions.flatMap(({ environment }) => environment['KMS_KEY_ID'] ?? []);
  return KMS_KEY_ID === undefined ? {} : { KMS_KEY_ID };
}

/** Returns `RECORD_FUNCTION`, the name of the function that records the audit log; no variable without one. */
function getRecordVariable({ functions }: Service): Record<string, string> {
  const [RECORD_FUNCTION] = functions.flatMap(({ name, functionName }) => (name === 'record' ? functionName : []));
  return RECORD_FUNCTION === undefined ? {} : { RECORD_FUNCTION };
}

/** Returns `GPU_WORKER_URLS`, the workers' URLs separated by commas; no variable without workers. */
function createWorkersVariable({ workers }: Pick<Workers, 'workers'> = { workers: [] }): Record<string, string> {
  return workers.length === 0 ? {} : { GPU_WORKER_URLS: workers.map(({ url }) => url).join(',') };
}
