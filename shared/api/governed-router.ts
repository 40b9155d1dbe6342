import { UNRESTRICTED } from '../access/policy.ts';
import type { Caller } from '../access/principal.ts';
import type { GenerationRequest } from '../inference/generation.ts';
import type { GenerateOptions, Generation, Router } from '../inference/router.ts';
import type { StagePorts } from './policy-stages.ts';

/**
 * A router that applies the caller's policy. Every request to a model passes it, whatever its endpoint and whether it came
 * by HTTP or from a queue.
 */
export interface GovernedRouter {
  /**
   * As `Router.generate`.
   * @throws LambentError `model_not_found` if the caller's policy doesn't permit the model
   */
  generate(request: GenerationRequest, options: GovernedOptions): Promise<Generation>;
}

export interface GovernedOptions extends GenerateOptions {
  readonly caller: Caller;
}

/** Creates a router that applies the policies of callers. */
export function createGovernedRouter(router: Router, ports: StagePorts): GovernedRouter {
  return {
    async generate(request, { caller, ...options }) {
      if (caller.policy === UNRESTRICTED) return router.generate(request, options);
      const { addStages } = await import('./policy-stages.ts');
      return addStages(router, caller.policy, ports).generate(request, options);
    },
  };
}
