import { checkModel } from '../access/model-permissions.ts';
import type { ModerationUse } from '../inference/moderation.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import type { Router } from '../inference/router.ts';
import type { FindModerator } from '../safety/moderation/create-moderators.ts';
import type { TenantVault } from '../vault/create-vault.ts';
import type { LimitedCaller, LimitsStage } from './limits-stage.ts';
import { enterStages, type Stages } from './stage-order.ts';

/** What the stages depend on. */
export interface StagePorts {
  readonly registry: Pick<ModelRegistry, 'guardrails'>;
  /** Opens the vault, if a stage needs a key of the tenant, or the request has sealed reasoning. */
  readonly openVault: () => Promise<Pick<TenantVault, 'deriveKey' | 'openReceived'>>;
  readonly loadLimits: () => Promise<LimitsStage>;
  readonly loadModerators: () => Promise<FindModerator>;
}

/**
 * Returns the router within the stages that a policy and a request need. The model permissions are checked first. The code of a
 * stage is loaded with the first call that needs it.
 */
export function addStages(router: Router, limited: LimitedCaller, ports: StagePorts): Router {
  const { policy } = limited.caller;
  return {
    async generate(request, options) {
      checkModel(policy, request.model);
      const { moderation } = request;
      const stages = await enterStages(router, { policy, moderation }, createStages(limited, ports, moderation));
      return stages.generate(request, options);
    },
  };
}

function createStages(
  limited: LimitedCaller,
  ports: StagePorts,
  moderation: ModerationUse | undefined,
): Stages<Router> {
  const { policy } = limited.caller;
  return {
    async guardrail(next) {
      const { withGuardrails } = await import('../safety/guardrail/guardrail-router.ts');
      return withGuardrails(policy, next, ports.registry);
    },

    async moderation(next) {
      if (moderation === undefined) return next;
      const [{ withModeration }, findModerator] = await Promise.all([
        import('../safety/moderation/moderation-router.ts'),
        ports.loadModerators(),
      ]);
      const moderator = findModerator(moderation.model, 'moderation.model');
      checkModel(policy, moderator.name);
      return withModeration(moderation, moderator, next);
    },

    async personalData(next) {
      const { withoutPersonalData } = await import('../safety/personal/personal-data-router.ts');
      const deriveKey = async (tenant: string, purpose: string) => (await ports.openVault()).deriveKey(tenant, purpose);
      return withoutPersonalData(policy, next, { deriveKey, registry: ports.registry });
    },

    async contentRules(next) {
      const { withRules } = await import('../safety/rules/rules-router.ts');
      return withRules(policy, next);
    },

    async sealedReasoning(next) {
      const [{ withOpenReasoning }, { openReasoning }] = await Promise.all([
        import('../safety/open-reasoning.ts'),
        import('../inference/sealed-reasoning.ts'),
      ]);
      return withOpenReasoning(next, {
        open: (continuation, tenant) => openReasoning(continuation, tenant, ports.openVault),
      });
    },

    async limits(next) {
      return (await ports.loadLimits()).limit(next, limited);
    },
  };
}
