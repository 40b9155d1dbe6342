import type { Telemetry } from '../../core/telemetry.ts';
import type { Moderator } from '../../inference/moderation.ts';

/** By request: one has several moderations if both the request and its answer are moderated, or an answer in parts. */
const counts = new WeakMap<Telemetry, number>();

/**
 * Returns a moderator that annotates the request with its moderation model and with the number of calls that it has answered.
 * @param model its name in the registry
 */
export function countModerations(moderator: Moderator, model: string, telemetry: Telemetry | undefined): Moderator {
  if (telemetry === undefined) return moderator;
  return {
    async moderate(inputs, signal) {
      const results = await moderator.moderate(inputs, signal);
      const count = (counts.get(telemetry) ?? 0) + 1;
      counts.set(telemetry, count);
      telemetry.logger.annotate({ moderationModel: model, moderationRequests: count });
      return results;
    },
  };
}
