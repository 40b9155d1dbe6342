import * as v from 'valibot';
import type { EngineServerOptions } from './server.ts';

/** What a worker's process is told by whoever starts it. */
export const workerSettingsSchema = v.object({
  model: v.string(),
  gpu: v.picklist(['h100', 'a10g']),
  speed: v.number(),
  slots: v.number(),
  contextTokens: v.number(),
  apiKey: v.exactOptional(v.string()),
  port: v.number(),
}) satisfies v.GenericSchema<Omit<EngineServerOptions, 'watch'>>;

/** What it says when it serves. */
export const workerReadySchema = v.object({ port: v.number() });
