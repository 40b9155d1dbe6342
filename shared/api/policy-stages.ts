import { checkModel } from '../access/model-permissions.ts';
import type { Policy, Restrictions } from '../access/policy.ts';
import type { ContinuationSeal } from '../inference/continuation-seal.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import type { Router } from '../inference/router.ts';
import type { FindModerator } from '../safety/moderation/create-moderators.ts';
import type { TenantVault } from '../vault/create-vault.ts';
import type { LimitedCaller, LimitsStage } from './limits-stage.ts';

/** What the stages depend on. */
export interface StagePorts {
  readonly registry: Pick<ModelRegistry, 'guardrails'>;
  /** Opens the vault, if a stage needs a key of the tenant, or the request has sealed reasoning. */
  readonly openVault: () => Promise<Pick<TenantVault, 'deriveKey' | 'openReceived'>>;
  readonly loadLimits: () => Promise<LimitsStage>;
  readonly loadModerators: () => Promise<FindModerator>;
}

/**
 * Returns the router with a stage for each section of a policy, from the outside: model permissions, limits, the opening of
 * sealed reasoning, content rules, which see the caller's own text, personal data, the moderation that the request asks for, and
 * guardrails, which see it masked. The code of a stage is loaded with the first policy that has its section.
 */
export function addStages(router: Router, limited: LimitedCaller, ports: StagePorts): Router {
  const { policy } = limited.caller;
  return {
    async generate(request, options) {
      checkModel(policy, request.model);
      let stages = router;
      if (hasSection(policy, 'guardrail')) {
        const { withGuardrails } = await import('../safety/guardrail/guardrail-router.ts');
        stages = withGuardrails(policy, stages, ports.registry);
      }
      if (request.moderation !== undefined) {
        const [{ withModeration }, findModerator] = await Promise.all([
          import('../safety/moderation/moderation-router.ts'),
          ports.loadModerators(),
        ]);
        const moderator = findModerator(request.moderation.model, 'moderation.model');
        checkModel(policy, moderator.name);
        stages = withModeration(request.moderation, moderator, stages);
      }
      if (hasSection(policy, 'personalData')) {
        const { withoutPersonalData } = await import('../safety/personal/personal-data-router.ts');
        const deriveKey = async (tenant: string, purpose: string) =>
          (await ports.openVault()).deriveKey(tenant, purpose);
        stages = withoutPersonalData(policy, stages, { deriveKey, registry: ports.registry });
      }
      if (hasSection(policy, 'contentRules')) {
        const { withRules } = await import('../safety/rules/rules-router.ts');
        stages = withRules(policy, stages);
      }
      if (stages !== router) {
        const [{ withOpenReasoning }, { openReasoning }] = await Promise.all([
          import('../safety/open-reasoning.ts'),
          import('../inference/sealed-reasoning.ts'),
        ]);
        const open: ContinuationSeal['open'] = (continuation, tenant) =>
          openReasoning(continuation, tenant, ports.openVault);
        stages = withOpenReasoning(stages, { open });
      }
      if (hasSection(policy, 'limits')) {
        stages = (await ports.loadLimits()).limit(stages, limited);
      }
      return stages.generate(request, options);
    },
  };
}

/** Returns whether any level of a policy has a section. */
export function hasSection({ account, project, key }: Policy, section: keyof Restrictions): boolean {
  return [account, project, key].some((level) => level?.[section] !== undefined);
}
