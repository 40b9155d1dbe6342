/** Answers chat: chat completions and responses, buffered or streamed, from the models of the registry. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { createObserver } from '../shared/inference/observe.ts';
import { capabilitiesOf, createModelFor } from '../shared/inference/providers/providers.ts';
import { parseRegistry } from '../shared/inference/registry.ts';
import { createRouter } from '../shared/inference/router.ts';
import { chatCompletionsRoute, listModelsRoute, responsesRoute, retrieveModelRoute } from '../shared/openai/routes.ts';
import { readConfig } from '../shared/runtime/config.ts';
import { httpPipeline } from '../shared/runtime/http.ts';
import { createLogger } from '../shared/runtime/logger.ts';
import { createMetrics } from '../shared/runtime/metrics.ts';
import { createSecretResolver } from '../shared/runtime/secrets.ts';

const config = readConfig({
  /** The registry; the one that was packaged beside the code when absent. */
  MODELS_FILE: v.optional(v.string(), join(import.meta.dirname, 'models.json')),
  /** Origin that browsers may call from. */
  CORS_ORIGIN: v.optional(v.string()),
});
const logger = createLogger({ level: config.LOG_LEVEL, fields: { function: config.AWS_LAMBDA_FUNCTION_NAME } });
const metrics = createMetrics(config.AWS_LAMBDA_FUNCTION_NAME);
const registry = parseRegistry(readFileSync(config.MODELS_FILE, 'utf8'), config.MODELS_FILE);
const router = createRouter({
  registry,
  modelFor: createModelFor({ secret: createSecretResolver({ environment: process.env }) }),
  capabilitiesOf,
  observer: createObserver(logger, metrics),
});
const api = { router, registry };

export const handler = httpPipeline({
  logger,
  metrics,
  corsOrigin: config.CORS_ORIGIN,
  routes: {
    'POST /v1/chat/completions': chatCompletionsRoute(api),
    'POST /v1/responses': responsesRoute(api),
    'GET /v1/models': listModelsRoute(api),
    'GET /v1/models/{id+}': retrieveModelRoute(api),
  },
});
