/** Serves chat completions, responses, messages and the list of models. Stores responses unless a request sets `store: false`. */
import { join } from 'node:path';
import * as v from 'valibot';
import { mayStoreContent } from '../shared/access/retention.ts';
import type { HttpRequest } from '../shared/access/route.ts';
import {
  chatCompletionsRoute,
  compactRoute,
  inputTokensRoute,
  listModelsRoute,
  preloadRoutes,
  responsesRoute,
  retrieveModelRoute,
} from '../shared/api/generation-routes.ts';
import { createGovernedRouter } from '../shared/api/governed-router.ts';
import { createHttpApi, httpApiSettings } from '../shared/api/http-api.ts';
import { countTokensRoute, loadMessagesFormat, messagesRoute } from '../shared/api/messages-routes.ts';
import { CHAT_ROUTES } from '../shared/api/route-table.ts';
import { readConfig } from '../shared/core/config.ts';
import { once } from '../shared/core/once.ts';
import { createSecretResolver } from '../shared/core/secrets.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { divideTimings } from '../shared/core/timings.ts';
import { FLEET_TIMINGS } from '../shared/gpu/fleet-timings.ts';
import { idempotent } from '../shared/idempotency/idempotent.ts';
import { createContinuationSeal } from '../shared/inference/create-continuation-seal.ts';
import { createModelFactory, getCapabilities, preloadProviders } from '../shared/inference/providers/providers.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { createRouter } from '../shared/inference/router.ts';
import { lifetimeSettings, queueSettings, storeSettings } from '../shared/jobs/settings.ts';
import { createSystemFingerprint } from '../shared/openai/fingerprint.ts';
import { runsInBackground, storesAnswer } from '../shared/openai/request-flags.ts';
import { isFinalFrame } from '../shared/wire/sse.ts';

const config = readConfig({
  /** Path of `models.json`. Default: the file that is packaged with the code. */
  MODELS_FILE: v.optional(v.string(), join(import.meta.dirname, 'models.json')),
  /** `provisioned-concurrency` in an environment that Lambda initializes before its first invocation. */
  AWS_LAMBDA_INITIALIZATION_TYPE: v.optional(v.string()),
  ...httpApiSettings,
  ...storeSettings,
  ...lifetimeSettings,
  SESSIONS_TABLE: v.string(),
  ...queueSettings,
  FLEET_TABLE: v.string(),
});
const telemetry = createTelemetry(config);
const registry = readModelRegistry(config.MODELS_FILE);
if (config.AWS_LAMBDA_INITIALIZATION_TYPE === 'provisioned-concurrency') {
  await Promise.all([preloadProviders(registry), preloadRoutes()]);
}
/** Loads the vault when a request first needs it: it has sealed reasoning, or its answer will have some. */
const loadVault = once(async () => {
  const { openRequestVault } = await import('../shared/api/open-request-vault.ts');
  return openRequestVault(config, telemetry.metrics);
});
const secret = createSecretResolver({ environment: process.env });
const loadLimits = once(async () =>
  (await import('../shared/api/open-limits.ts')).openLimits({ registry, getCapabilities }),
);
const router = createGovernedRouter(
  createRouter({
    registry,
    createModel: createModelFactory({
      secret,
      seal: createContinuationSeal(loadVault),
      gpu: {
        fleets: registry.fleets,
        tableName: config.FLEET_TABLE,
        tier: 'interactive',
        timings: divideTimings(FLEET_TIMINGS.slots, config.TIMINGS_DIVISOR),
      },
    }),
    getCapabilities,
  }),
  {
    registry,
    openVault: loadVault,
    loadLimits,
    loadModerators: once(async () =>
      (await import('../shared/safety/moderation/create-moderators.ts')).createModerators(registry, { secret }),
    ),
  },
);
/** Loads the stores when a request first needs them, so that chats that store nothing start without them. */
const loadState = once(async () => {
  const [{ openApiState }, vault] = await Promise.all([import('../shared/api/open-api-state.ts'), loadVault()]);
  return openApiState(config, telemetry.metrics, vault);
});
const api = {
  router,
  registry,
  fingerprint: createSystemFingerprint(config.KMS_KEY_ID, registry),
  state: async () => (await loadState()).state,
  loadStreamLimits: loadLimits,
};
const idempotency = {
  open: async () => (await loadState()).idempotency,
  isFinalFrame,
  checkCaller: async (request: HttpRequest) =>
    (await import('../shared/api/check-named-models.ts')).checkNamedModels(request, registry),
  mayStore: ({ body, principal }: HttpRequest) => storesAnswer(body, true, mayStoreContent(principal.policy)),
};

export const handler = createHttpApi({
  telemetry,
  corsOrigin: config.CORS_ORIGIN,
  loadFormat: loadMessagesFormat,
  table: CHAT_ROUTES,
  routes: {
    'POST /v1/chat/completions': idempotent(chatCompletionsRoute(api), { ...idempotency, name: 'chat.completions' }),
    'POST /v1/responses': idempotent(responsesRoute(api), {
      ...idempotency,
      name: 'responses',
      showsRunning: runsInBackground,
    }),
    'POST /v1/messages': idempotent(messagesRoute(api), { ...idempotency, name: 'messages' }),
    'POST /v1/messages/count_tokens': countTokensRoute(api),
    'POST /v1/responses/compact': idempotent(compactRoute(api), { ...idempotency, name: 'responses.compact' }),
    'POST /v1/responses/input_tokens': inputTokensRoute(api),
    'GET /v1/models': listModelsRoute(api),
    'GET /v1/models/{id+}': retrieveModelRoute(api),
  },
});
