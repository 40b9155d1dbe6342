import { type ContinuationSeal, isSealedPart } from '../inference/continuation-seal.ts';
import type { Router } from '../inference/router.ts';
import { openMessages } from '../inference/sealed-messages.ts';

/**
 * Returns a router that opens the sealed reasoning of earlier turns, so that the next stages see its text. The record of
 * reasoning that can't be opened is removed, because no model gets it. It throws LambentError as `ContinuationSeal.open` does.
 */
export function withOpenReasoning(router: Router, seal: Pick<ContinuationSeal, 'open'>): Router {
  return {
    async generate(request, options) {
      const isSealed = request.messages.some(({ role, content }) => role === 'assistant' && content.some(isSealedPart));
      if (!isSealed) return router.generate(request, options);
      const messages = await openMessages(request.messages, seal, request.tenant);
      return router.generate({ ...request, messages }, options);
    },
  };
}
