import { setTimeout as sleepFor } from 'node:timers/promises';
import { cachePolicies, createPolicyTable } from '../access/policy-table.ts';
import { newId } from '../core/ids.ts';
import { createFailureLog } from '../core/logger.ts';
import { once } from '../core/once.ts';
import type { ProcessTelemetry } from '../core/telemetry.ts';
import type { ContinuationSeal } from '../inference/continuation-seal.ts';
import { createContinuationSeal } from '../inference/create-continuation-seal.ts';
import { getCapabilities } from '../inference/providers/providers.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { createRouter, type RouterOptions } from '../inference/router.ts';
import { createDynamoDBPace } from '../jobs/dynamodb-pace.ts';
import { createPace } from '../jobs/pace.ts';
import type { WorkerSettings } from '../jobs/settings.ts';
import { createYielding } from '../jobs/yielding.ts';
import { createSystemFingerprint } from '../openai/fingerprint.ts';
import { createGovernedRouter } from './governed-router.ts';
import { createInputPreparation } from './input-preparation.ts';
import { createAnswerJob } from './job-answer.ts';
import { createCallerFinder } from './job-caller.ts';
import type { createJobClients } from './job-clients.ts';
import { createJobDependencies } from './job-dependencies.ts';
import type { VaultAccess } from './open-vault.ts';
import type { StagePorts } from './policy-stages.ts';

/** Options of `createWorkerDependencies`. */
export interface WorkerOptions extends VaultAccess {
  readonly registry: ModelRegistry;
  /** Returns the function that creates models with a seal for their continuations. */
  readonly createModels: (seal: ContinuationSeal) => RouterOptions['createModel'];
  readonly loadLimits: StagePorts['loadLimits'];
  /** Resolves the keys of moderation models. */
  readonly secret: (reference: string) => Promise<string>;
}

/** Creates the dependencies of a function that runs jobs. Call it once per environment. */
export function createWorkerDependencies(
  clients: ReturnType<typeof createJobClients>,
  settings: WorkerSettings,
  telemetry: ProcessTelemetry,
  { registry, createModels, loadLimits, secret, mayCreateKeys }: WorkerOptions,
) {
  const { conversations, ...dependencies } = createJobDependencies(clients, settings, telemetry, { mayCreateKeys });
  const { jobs, bodies, vault } = dependencies;
  const createModel = createModels(createContinuationSeal(async () => vault));
  const router = createGovernedRouter(createRouter({ registry, createModel, getCapabilities }), {
    registry,
    openVault: async () => vault,
    loadLimits,
    loadModerators: once(async () =>
      (await import('../safety/moderation/create-moderators.ts')).createModerators(registry, { secret }),
    ),
  });
  const contextPorts = { registry, conversations, jobs, bodies, vault };
  return {
    ...dependencies,
    prepareInput: createInputPreparation(contextPorts),
    answerJob: createAnswerJob({
      router,
      findCaller: createCallerFinder(cachePolicies(createPolicyTable(clients.dynamodb, settings.ACCESS_TABLE))),
      // Loaded with the first job that needs it.
      compactContext: async (job, input, call) =>
        (await import('./job-compaction.ts')).compactJobContext(job, input, { ...contextPorts, router }, call),
      fingerprint: createSystemFingerprint(settings.KMS_KEY_ID, registry),
      now: Date.now,
    }),
    longestAnswerMs: (model: string) => registry.models[model]?.timeoutMs,
    ids: newId,
    random: Math.random,
    yielding: createYielding(Date.now),
    pace: createPace({
      table: createDynamoDBPace(clients.dynamodb, settings.JOBS_TABLE),
      now: Date.now,
      random: Math.random,
      onError: createFailureLog(telemetry.forRequest({}).logger),
    }),
    sleep: (ms: number, signal: AbortSignal) => sleepFor(ms, undefined, { signal }).catch(() => {}),
  };
}
