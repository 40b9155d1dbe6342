// The computed values of serverless.yml: `${file(infra/osls.js):name}` is the result of the export `name`, which osls
// calls with its variables. osls loads only JavaScript, so this file joins functions of the TypeScript modules.
import { createRequire } from 'node:module';
import { computeConcurrency, createScaling, createWarmTargets, listWarmResources } from './concurrency.ts';
import { createConditions } from './conditions.ts';
import { createCors } from './cors.ts';
import { createEndpoint } from './endpoint.ts';
import { createExternalKeyPolicies } from './external-keys.ts';
import { createFleetEvents, createFleetPolicy, hasFleets as stageHasFleets } from './fleet.ts';
import { createGpuFleet, createGpuValues, createGpuVpc } from './gpu-fleet.ts';
import { createManaged, createManagedValues, createVpcOf } from './managed.ts';
import { createReplyPolicy, formatReplyQueues } from './reply-queues.ts';
import { computeBucketDays } from './retention.ts';
import { createSenderStatements } from './senders.ts';
import { readStage } from './settings.ts';
import { createSweepEvents } from './sweep-events.ts';
import { createTags } from './tags.ts';

/** The version of Lambent, for the outputs. */
export const { version } = createRequire(import.meta.url)('../package.json');

export {
  createEmbeddingKeysPolicy as embeddingKeysPolicy,
  createEngineKeysPolicy as engineKeysPolicy,
  createModelsPolicies as modelsPolicies,
  listEmbeddingsPolicyArns as embeddingsPolicyArns,
  listModelsPolicyArns as modelsPolicyArns,
} from './models-policy.ts';
/** The description of the API, as API Gateway serves it. */
export { readTemplate as openapi } from './openapi/served.ts';

/** Computes a value of the stage, whose settings are read and checked first. */
const ofStage = (compute) => async (variables) => compute(await readStage(variables), variables);
/** Computes a value of the settings alone. */
const ofSettings = (compute) => ofStage(({ settings }, variables) => compute(settings, variables));

export const bucketDays = ofSettings(computeBucketDays);
export const concurrencyQuota = ofStage(async (stage) =>
  String(computeConcurrency(stage.settings, await stageHasFleets(stage)).quota),
);
export const conditions = ofStage(async (stage) => createConditions(stage.settings, await stageHasFleets(stage)));
export const cors = ofSettings(createCors);
export const endpoint = ofSettings(createEndpoint);
export const externalKeys = ofStage(({ settings, prefix }) => createExternalKeyPolicies(settings, prefix));
export const fleetEvents = ofStage(createFleetEvents);
export const fleetPolicy = createFleetPolicy;
export const gpu = ofSettings(createGpuValues);
export const gpuFleet = ofSettings(createGpuFleet);
export const gpuVpc = ofSettings(createGpuVpc);
export const hasFleets = ofStage(stageHasFleets);
export const managed = ofStage(createManaged);
export const managedValues = ofSettings(createManagedValues);
export const replyPolicy = ofSettings(createReplyPolicy);
export const replyQueues = ofSettings(formatReplyQueues);
export const scaling = ofStage(createScaling);
export const senders = ofStage(createSenderStatements);
export const settings = ofSettings((values) => values);
export const sweepEvents = ofSettings(createSweepEvents);
export const tags = ofStage(createTags);
export const vpcOfChat = ofSettings(createVpcOf('managedHttp'));
export const vpcOfDispatch = ofSettings(createVpcOf('managedWorkers'));
export const warmResources = ofSettings(listWarmResources);
export const warmTargets = ofStage(createWarmTargets);
