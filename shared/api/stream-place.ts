import type { HttpRequest } from '../access/route.ts';
import type { FreePlace, StreamLimits } from './reservations.ts';

/** Loads the limits of streams with the first caller that has limits. */
export type LoadStreamLimits = () => Promise<StreamLimits>;

/**
 * Reserves a place for a stream of a background response's events, if the caller's policy limits them.
 * @throws LambentError as `StreamLimits.reserveStream`
 */
export async function reservePlace(
  load: LoadStreamLimits | undefined,
  model: string,
  { principal: caller, telemetry }: Pick<HttpRequest, 'principal' | 'telemetry'>,
): Promise<FreePlace | undefined> {
  const { account, project, key } = caller.policy;
  const isLimited = [account, project, key].some((level) => level?.limits !== undefined);
  if (load === undefined || !isLimited) return undefined;
  return (await load()).reserveStream(model, { caller, telemetry });
}

/** Passes frames on, and frees their place when they end for any reason. */
export async function* freeAfter<T>(
  frames: AsyncGenerator<string, T>,
  free: FreePlace | undefined,
): AsyncGenerator<string, T> {
  try {
    return yield* frames;
  } finally {
    await free?.();
  }
}
