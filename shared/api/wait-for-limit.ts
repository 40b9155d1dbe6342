import { LambentError } from '../core/errors.ts';
import type { QueueRecord } from '../lambda/queue-event.ts';
import { type MessageContext, MessageRejectedError } from '../lambda/queue-pipeline.ts';

/** The pause after the first refusal. It doubles with each delivery. */
const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 900_000;
/** A message waits for the end of a limit's day in steps, because SQS hides none for longer than 12 hours. */
const LONGEST_STEP_MS = 6 * 3_600_000;

/**
 * Returns the milliseconds that a message has to wait in its queue because a limit refuses it.
 * @param thrown the error of the message
 * @throws MessageRejectedError if the limit can never allow the message, or if it has waited so long that SQS might lose it; `thrown`
 * if it isn't the error of a limit, `rate_limit_exceeded`
 */
export function computeWaitMs(
  thrown: unknown,
  { attributes: { ApproximateReceiveCount } }: QueueRecord,
  { mayHide }: Pick<MessageContext, 'mayHide'>,
): number {
  if (!(thrown instanceof LambentError) || thrown.code !== 'rate_limit_exceeded') throw thrown;
  const { retryAfterMs } = thrown;
  if (retryAfterMs === undefined) throw new MessageRejectedError(thrown);
  const grown = Math.min(FIRST_PAUSE_MS * 2 ** (Number(ApproximateReceiveCount) - 1), LONGEST_PAUSE_MS);
  // Spread, so that messages that were refused together don't return together.
  const pauseMs = Math.round(Math.max(grown, Math.min(retryAfterMs, LONGEST_STEP_MS)) * (1 + Math.random() / 4));
  if (!mayHide(pauseMs)) throw new MessageRejectedError(thrown);
  return pauseMs;
}
