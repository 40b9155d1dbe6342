import type { Sleep } from '../core/heartbeat.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import type { ApiState } from './api-state.ts';
import type { GovernedRouter } from './governed-router.ts';
import type { LoadStreamLimits } from './stream-place.ts';

/** The dependencies of the generation routes. */
export interface GenerationApi {
  readonly router: GovernedRouter;
  readonly registry: ModelRegistry;
  /** Returns the `system_fingerprint` for the name of a model. */
  readonly fingerprint: (model: string) => string;
  /** Generates the unique part of an id. Default: `newId`. */
  readonly ids?: () => string;
  /** Returns epoch milliseconds. */
  readonly now?: () => number;
  /** Pauses while a store is not available. Default: real time. */
  readonly sleep?: Sleep;
  /** Loads the stores when a request first needs them. If absent, nothing is stored. */
  readonly state?: () => Promise<ApiState>;
  /** Loads the limits of streams of background responses. If absent, these aren't limited. */
  readonly loadStreamLimits?: LoadStreamLimits;
}
