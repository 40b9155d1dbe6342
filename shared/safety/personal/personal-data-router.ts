import type { KeyObject } from 'node:crypto';
import type { Policy } from '../../access/policy.ts';
import type { GenerationRequest } from '../../inference/generation.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import type { GenerateOptions, Generation, Router } from '../../inference/router.ts';
import { getDetector } from './detectors.ts';
import { maskRequest } from './mask-request.ts';
import { openNameFinder } from './open-name-finder.ts';
import { reportFound } from './report.ts';
import { restoreAnswer } from './restore-answer.ts';
import { type AppliedRules, combineRules } from './rules.ts';

/** What the stage depends on. */
export interface PersonalDataPorts {
  /** Returns the tenant's key for a purpose. Called only for requests with values to mask. */
  readonly deriveKey: (tenant: string, purpose: string) => Promise<KeyObject>;
  /** Has the guardrails that find names and addresses. */
  readonly registry: Pick<ModelRegistry, 'guardrails'>;
}

/** Returns a router that handles personal data by the rules of a policy. Without rules, it is the given one. */
export function withoutPersonalData(policy: Policy, router: Router, ports: PersonalDataPorts): Router {
  const rules = combineRules(policy);
  return rules === undefined ? router : createMaskingRouter(router, rules, ports);
}

/** Returns a router that sends requests without their personal data, translated, and restores the values in the answers. */
function createMaskingRouter(router: Router, rules: AppliedRules, { deriveKey, registry }: PersonalDataPorts): Router {
  return {
    async generate(request: GenerationRequest, options: GenerateOptions): Promise<Generation> {
      const { request: masked, values } = await maskRequest(request, rules, {
        detect: await getDetector(rules),
        openKey: () => deriveKey(request.tenant, 'placeholders'),
        findNames: await openNameFinder(rules, registry, options),
        onSearched: (counts) => reportFound(options.telemetry, counts),
      });
      if (values.size === 0) return router.generate(masked, options);
      // The probabilities are those of placeholders.
      const { topLogprobs, ...sent } = masked;
      const { events, ignored = [], ...generation } = await router.generate(sent, options);
      const dropped = topLogprobs === undefined ? [] : [request.parameterNames['topLogprobs'] ?? 'logprobs'];
      return {
        ...generation,
        ignored: [...ignored, ...dropped],
        events: restoreAnswer(events, values, request.format.type),
      };
    },
  };
}
