import type { Telemetry } from '../../core/telemetry.ts';
import { noteDestination } from '../../inference/destinations.ts';
import type { Moderator } from '../../inference/moderation.ts';
import type { ResolvedModerator } from './create-moderators.ts';

/** By request: one has several moderations if both the request and its answer are moderated, or an answer in parts. */
const counts = new WeakMap<Telemetry, number>();

/** Returns a moderator that annotates the request with its moderation model, where that is, and how many calls it has answered. */
export function countModerations(
  moderator: Moderator,
  { name, destination }: Pick<ResolvedModerator, 'name' | 'destination'>,
  telemetry: Telemetry | undefined,
): Moderator {
  if (telemetry === undefined) return moderator;
  return {
    async moderate(inputs, signal) {
      noteDestination(telemetry, destination);
      const results = await moderator.moderate(inputs, signal);
      const count = (counts.get(telemetry) ?? 0) + 1;
      counts.set(telemetry, count);
      telemetry.logger.annotate({ moderationModel: name, moderationRequests: count });
      return results;
    },
  };
}
