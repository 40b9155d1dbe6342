import type { ContentRule, GuardrailUse } from '../access/content-policy-schema.ts';
import { listRestrictions } from '../access/list-restrictions.ts';
import { checkModel } from '../access/model-permissions.ts';
import type { Policy } from '../access/policy.ts';
import { LambentError } from '../core/errors.ts';
import type { Embed, EmbeddingRequest, Embeddings } from '../inference/embedding.ts';
import type { GovernedOptions } from './governed-router.ts';
import type { StagePorts } from './policy-stages.ts';
import { enterStages, type Stages } from './stage-order.ts';

/** Embeddings, and the response headers of the caller's limits. */
export interface GovernedEmbeddings extends Embeddings {
  readonly headers?: Readonly<Record<string, string>>;
}

export type GovernedEmbedOptions = Parameters<Embed>[1] & Pick<GovernedOptions, 'caller' | 'defer'>;

/** Embeds the inputs of a request under the caller's policy. Throws as `Embed` and `GovernedRouter.generate`. */
export type GovernedEmbed = (
  request: Parameters<Embed>[0],
  options: GovernedEmbedOptions,
) => Promise<GovernedEmbeddings>;

/** Creates the function that embeds under the policies of callers. The code of a stage is loaded with the first policy. */
export function createGovernedEmbed(embed: Embed, ports: EmbedPorts): GovernedEmbed {
  return async (request, options) => {
    const { policy } = options.caller;
    checkModel(policy, request.model);
    const stages = await enterStages<GovernedEmbed>(embed, { policy }, createStages(policy, ports));
    return stages(request, options);
  };
}

type EmbedPorts = Pick<StagePorts, 'registry' | 'loadLimits'>;

/** Only requests have text: what a model embeds is not searched. */
function createStages(policy: Policy, { registry, loadLimits }: EmbedPorts): Stages<GovernedEmbed> {
  return {
    async guardrail(next) {
      const { checkTexts } = await import('../safety/guardrail/guardrail-router.ts');
      const isChecked = listRestrictions(policy).some(({ guardrail }) => guardrail && isForInput(guardrail));
      return async (request, options) => {
        await checkTexts(policy, isChecked ? listTexts(request) : [], registry, options);
        return next(request, options);
      };
    },

    async personalData(next) {
      const { maskEmbeddings } = await import('../safety/personal/mask-embeddings.ts');
      return async (request, options) => next(await maskEmbeddings(request, { policy, registry, ...options }), options);
    },

    async contentRules(next) {
      const { checkTexts } = await import('../safety/rules/rules-router.ts');
      const isChecked = listRestrictions(policy).some(({ contentRules = [] }) => contentRules.some(isForInput));
      return async (request, options) => {
        const groups = isChecked ? listTexts(request).map((text) => [text]) : [];
        checkTexts(policy, groups, options.telemetry);
        return next(request, options);
      };
    },

    async limits(next) {
      const limits = await loadLimits();
      return (request, options) =>
        limits.embed(request, options, (each, call) => next(each, { ...call, caller: options.caller }));
    },
  };
}

function isForInput({ on }: Pick<ContentRule | GuardrailUse, 'on'>): boolean {
  return on !== 'output';
}

/** @throws LambentError `invalid_value` for token arrays */
function listTexts({ inputs }: EmbeddingRequest): string[] {
  return inputs.map((input) => {
    if (typeof input === 'string') return input;
    const message = "Invalid value: 'input': token arrays can't be checked against the content policy. Send texts.";
    throw new LambentError('invalid_value', message, { param: 'input' });
  });
}
