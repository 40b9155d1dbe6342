// What serverless.yml computes instead of stating. osls loads JavaScript only, so that this file is the way to the
// TypeScript beside it; each export answers `${file(infra/osls.js):name}`.
export { dispatchConcurrencyMax, scaling, warmResources, warmTargets } from './concurrency.ts';
export { conditions } from './conditions.ts';
export { cors } from './cors.ts';
export { fleetEvents, fleetPolicy } from './fleet.ts';
export { gpu, gpuFleet, gpuVpc } from './gpu-fleet.ts';
export { engineKeysPolicy, modelsPolicies, modelsPolicyArns } from './models-policy.ts';
export { replyPolicy, replyQueues } from './reply-queues.ts';
export { bucketDays } from './retention.ts';
