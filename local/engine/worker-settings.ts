import * as v from 'valibot';
import type { EngineServerOptions } from './server.ts';

/** The settings that a worker process gets from its parent. */
export const workerSettingsSchema = v.object({
  model: v.string(),
  gpu: v.picklist(['h100', 'a10g']),
  speed: v.number(),
  slots: v.number(),
  contextTokens: v.number(),
  apiKey: v.exactOptional(v.string()),
  port: v.number(),
}) satisfies v.GenericSchema<Omit<EngineServerOptions, 'observe'>>;

/** The message that a worker process sends once it serves requests. */
export const workerReadySchema = v.object({ port: v.number() });
