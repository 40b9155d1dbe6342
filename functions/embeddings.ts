/** Serves embeddings and moderations. */
import { join } from 'node:path';
import * as v from 'valibot';
import { embeddingsRoute } from '../shared/api/embeddings-route.ts';
import { createGovernedEmbed } from '../shared/api/governed-embed.ts';
import { createHttpApi, httpApiSettings } from '../shared/api/http-api.ts';
import { moderationsRoute } from '../shared/api/moderations-route.ts';
import { EMBEDDINGS_ROUTES } from '../shared/api/route-table.ts';
import { readConfig } from '../shared/core/config.ts';
import { once } from '../shared/core/once.ts';
import { createSecretResolver } from '../shared/core/secrets.ts';
import { createTelemetry } from '../shared/core/telemetry.ts';
import { divideTimings, timingsSettings } from '../shared/core/timings.ts';
import { FLEET_TIMINGS } from '../shared/gpu/fleet-timings.ts';
import { createEmbed } from '../shared/inference/embedding.ts';
import { createEmbedderFactory } from '../shared/inference/providers/embedders.ts';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import { createModerators } from '../shared/safety/moderation/create-moderators.ts';

const config = readConfig({
  /** Path of `models.json`. Default: the file that is packaged with the code. */
  MODELS_FILE: v.optional(v.string(), join(import.meta.dirname, 'models.json')),
  ...httpApiSettings,
  ...timingsSettings,
  FLEET_TABLE: v.string(),
});
const registry = readModelRegistry(config.MODELS_FILE);
const secret = createSecretResolver({ environment: process.env });
/** Loads the limits with the first limited call. */
const loadLimits = once(async () =>
  (await import('../shared/api/open-limits.ts')).openLimits({ registry, getCapabilities: () => new Set() }),
);
const embed = createGovernedEmbed(
  createEmbed({
    registry,
    createModel: createEmbedderFactory({
      secret,
      gpu: {
        fleets: registry.fleets,
        tableName: config.FLEET_TABLE,
        tier: 'interactive',
        timings: divideTimings(FLEET_TIMINGS.slots, config.TIMINGS_DIVISOR),
      },
    }),
  }),
  { registry, loadLimits },
);

export const handler = createHttpApi({
  telemetry: createTelemetry(config),
  corsOrigin: config.CORS_ORIGIN,
  table: EMBEDDINGS_ROUTES,
  routes: {
    'POST /v1/embeddings': embeddingsRoute({ embed, registry }),
    'POST /v1/moderations': moderationsRoute({
      registry,
      loadLimits,
      findModerator: createModerators(registry, { secret }),
    }),
  },
});
