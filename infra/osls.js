// The computed values of serverless.yml: `${file(infra/osls.js):name}` is the result of the export `name`. osls loads
// only JavaScript, so this file re-exports functions of the TypeScript modules.
export {
  createScaling as scaling,
  createWarmTargets as warmTargets,
  listWarmResources as warmResources,
  readDispatchConcurrencyMax as dispatchConcurrencyMax,
} from './concurrency.ts';
export { createConditions as conditions } from './conditions.ts';
export { createCors as cors } from './cors.ts';
export { createFleetEvents as fleetEvents, createFleetPolicy as fleetPolicy } from './fleet.ts';
export {
  createGpuFleet as gpuFleet,
  createGpuValues as gpu,
  createGpuVpc as gpuVpc,
} from './gpu-fleet.ts';
export { readJobShardsRead as jobShardsRead } from './job-shards.ts';
export {
  createEngineKeysPolicy as engineKeysPolicy,
  createModelsPolicies as modelsPolicies,
  listModelsPolicyArns as modelsPolicyArns,
} from './models-policy.ts';
export { createReplyPolicy as replyPolicy, formatReplyQueues as replyQueues } from './reply-queues.ts';
export { computeBucketDays as bucketDays } from './retention.ts';
export { createSenderStatements as senders } from './senders.ts';
export { createSweepEvents as sweepEvents } from './sweep-events.ts';
