import type { Route } from '../access/route.ts';
import type { IdempotentOptions } from './idempotent-options.ts';

/**
 * Makes a route perform one operation per `Idempotency-Key` for 24 hours: a repeated request with the same body gets the
 * first response again. Every attempt of the operation has the operation's id, which is random, and stores its result under
 * ids derived from that. An attempt that takes over a key (its holder was killed, or a write failed whose response was lost)
 * first looks for such a result, so nothing is done twice. A failed attempt that stored nothing frees its key.
 *
 * Only complete responses are recorded. A response is replayed until the object that it shows is deleted; afterwards the
 * request is refused, because it may be a late repetition.
 *
 * `run` throws LambentError `idempotency_key_reused` for another body, `idempotency_key_in_use` while the first attempt runs,
 * `idempotent_answer_not_kept`, and every error of `checkCaller` and of the route.
 */
export function idempotent(route: Route, options: IdempotentOptions): Route {
  return {
    ...route,
    async run(request) {
      const key = request.headers['idempotency-key'];
      if (key === undefined) return route.run(request);
      await options.checkCaller?.(request);
      // Imported here, because few requests have a key.
      const [{ IdempotentCall }, idempotency] = await Promise.all([import('./idempotent-call.ts'), options.open()]);
      return new IdempotentCall(idempotency, options, request, key).run(route);
    },
  };
}
