import type { ModelRegistry } from '../inference/registry.ts';
import type { Router } from '../inference/router.ts';
import type { ApiState } from './api-state.ts';

export interface GenerationApi {
  readonly router: Router;
  readonly registry: ModelRegistry;
  /** Makes the variable part of an id, never twice the same. */
  readonly ids?: () => string;
  /** Epoch milliseconds. */
  readonly now?: () => number;
  /** Loads what keeps state, when a request first needs it; without it nothing is stored. */
  readonly state?: () => Promise<ApiState>;
}
