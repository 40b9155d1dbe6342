import type { Bodies, EventLog, JobQueue, JobStore } from '../jobs/ports.ts';
import type { Logger } from '../runtime/logger.ts';
import type { Conversations } from '../sessions/conversations.ts';

/** Where the API keeps what callers come back for. */
export interface ApiState {
  readonly jobs: JobStore;
  readonly bodies: Bodies;
  readonly events: EventLog;
  readonly queue: JobQueue;
  readonly conversations: Conversations;
  /** Days that responses are kept. */
  readonly retentionDays: number;
  /** Told of what went wrong without harm to the caller. */
  readonly logger: Pick<Logger, 'annotate' | 'warn'>;
}

/** Epoch seconds after which what is written at `now` (epoch milliseconds) is gone. */
export function expiryOf({ retentionDays }: Pick<ApiState, 'retentionDays'>, now: number): number {
  return Math.floor(now / 1000) + retentionDays * DAY_SECONDS;
}

const DAY_SECONDS = 86_400;
