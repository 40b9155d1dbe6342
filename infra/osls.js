// The computed values of serverless.yml: `${file(infra/osls.js):name}` is the result of the export `name`. osls loads only
// JavaScript, so this file re-exports the TypeScript modules.
export { dispatchConcurrencyMax, scaling, warmResources, warmTargets } from './concurrency.ts';
export { conditions } from './conditions.ts';
export { cors } from './cors.ts';
export { fleetEvents, fleetPolicy } from './fleet.ts';
export { gpu, gpuFleet, gpuVpc } from './gpu-fleet.ts';
export { engineKeysPolicy, modelsPolicies, modelsPolicyArns } from './models-policy.ts';
export { replyPolicy, replyQueues } from './reply-queues.ts';
export { bucketDays } from './retention.ts';
