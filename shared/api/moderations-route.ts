import { checkModel } from '../access/model-permissions.ts';
import type { Route } from '../access/route.ts';
import { newId } from '../core/ids.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { parseModerationRequest } from '../openai/moderations/request.ts';
import { encodeModerations } from '../openai/moderations/response.ts';
import type { FindModerator } from '../safety/moderation/create-moderators.ts';
import { describeHandling } from './handling-headers.ts';

/** Creates the route `POST /v1/moderations`. */
export function moderationsRoute({
  findModerator,
  registry,
}: {
  readonly findModerator: FindModerator;
  readonly registry: ModelRegistry;
}): Route {
  return {
    async run({ body, principal: { policy }, signal, telemetry }) {
      const { model, inputs, ignored } = parseModerationRequest(body, registry);
      const { name, load } = findModerator(model);
      checkModel(policy, name);
      telemetry.logger.annotate({ model: name });
      const results = await (await load()).moderate(inputs, signal);
      return { headers: describeHandling(ignored), json: encodeModerations(results, newId(), model) };
    },
  };
}
