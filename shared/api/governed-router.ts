import { UNRESTRICTED } from '../access/policy.ts';
import type { Caller } from '../access/principal.ts';
import type { GenerationRequest } from '../inference/generation.ts';
import type { GenerateOptions, Generation, Router } from '../inference/router.ts';
import type { Defer } from '../lambda/request-context.ts';
import type { StagePorts } from './policy-stages.ts';

/**
 * A router that applies the caller's policy and the moderation that a request asks for. Every request to a model passes it, whatever its endpoint and whether it came
 * by HTTP or from a queue.
 */
export interface GovernedRouter {
  /**
   * As `Router.generate`.
   * @throws LambentError also `model_not_found` if the caller's policy doesn't permit the model, `content_filter` if
   * it doesn't permit the content, `guardrail_unavailable` if the content can't be checked, and the errors of limits
   */
  generate(request: GenerationRequest, options: GovernedOptions): Promise<Generation>;
}

export interface GovernedOptions extends GenerateOptions {
  readonly caller: Caller;
  /** The API whose headers say what is left of the caller's limits. Default: OpenAI's. */
  readonly headerStyle?: 'anthropic';
  /** Settles limits after the response. Default: before its end. */
  readonly defer?: Defer | undefined;
}

/** Creates a router that applies the policies of callers. */
export function createGovernedRouter(router: Router, ports: StagePorts): GovernedRouter {
  return {
    async generate(request, options) {
      const { caller, headerStyle, defer, ...call } = options;
      if (caller.policy === UNRESTRICTED && request.moderation === undefined) return router.generate(request, call);
      const { addStages } = await import('./policy-stages.ts');
      return addStages(router, options, ports).generate(request, call);
    },
  };
}
