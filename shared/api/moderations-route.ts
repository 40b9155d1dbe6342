import { checkModel } from '../access/model-permissions.ts';
import type { Route } from '../access/route.ts';
import { newId } from '../core/ids.ts';
import { describeDestination } from '../inference/destinations.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { parseModerationRequest } from '../openai/moderations/request.ts';
import { encodeModerations } from '../openai/moderations/response.ts';
import { countModerations } from '../safety/moderation/count-moderations.ts';
import type { FindModerator } from '../safety/moderation/create-moderators.ts';
import type { maskModerations } from '../safety/personal/mask-moderations.ts';
import { describeHandling } from './handling-headers.ts';
import type { StagePorts } from './policy-stages.ts';
import { hasSection } from './stage-order.ts';

/** Creates the route `POST /v1/moderations`. */
export function moderationsRoute({
  findModerator,
  registry,
  loadLimits,
}: {
  readonly findModerator: FindModerator;
  readonly registry: ModelRegistry;
  readonly loadLimits: StagePorts['loadLimits'];
}): Route {
  return {
    async run({ body, principal, signal, telemetry, defer }) {
      const { model, inputs, ignored } = parseModerationRequest(body, registry);
      const moderator = findModerator(model, 'model');
      const { name, destination, load } = moderator;
      checkModel(principal.policy, name);
      telemetry.logger.annotate({ model: name, ...describeDestination(destination) });
      const moderate = async () => {
        const sent = hasSection(principal.policy, 'personalData')
          ? await mask(inputs, { policy: principal.policy, registry, signal, telemetry })
          : inputs;
        return countModerations(await load(), moderator, telemetry).moderate(sent, signal);
      };
      const { result, headers } = hasSection(principal.policy, 'limits')
        ? await (await loadLimits()).moderate(
            { model: name, texts: inputs.length },
            { caller: principal, telemetry, defer },
            moderate,
          )
        : { result: await moderate(), headers: {} };
      return {
        headers: { ...describeHandling(ignored), ...headers },
        json: encodeModerations(result, newId(), model),
      };
    },
  };
}

const mask: typeof maskModerations = async (...call) =>
  (await import('../safety/personal/mask-moderations.ts')).maskModerations(...call);
