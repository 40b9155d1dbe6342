import { LimitsStage, type LimitsStageOptions } from './limits-stage.ts';
import { createLimitsStore } from './limits-store.ts';
import { Reservations, type StreamLimits } from './reservations.ts';

/** Creates the stage that applies limits, with a client of its own. Call it once per environment. */
export function openLimits(options: Pick<LimitsStageOptions, 'registry' | 'getCapabilities'>): LimitsStage {
  return new LimitsStage({ ...createLimitsStore(), ...options });
}

/** Creates the limits of streams that call no model, with a client of their own. Call it once per environment. */
export function openStreamLimits(): StreamLimits {
  return new Reservations(createLimitsStore());
}
