import type { Lifetime } from '../jobs/lifetime.ts';
import type { Bodies, EventLog, JobQueue, JobStore } from '../jobs/ports.ts';
import type { JobTimings } from '../jobs/timings.ts';
import type { Conversations } from '../sessions/conversations.ts';

/** The stores and settings that stateful endpoints use. */
export interface ApiState {
  readonly jobs: JobStore;
  readonly bodies: Bodies;
  readonly events: EventLog;
  readonly queue: JobQueue;
  readonly conversations: Conversations;
  readonly lifetime: Lifetime;
  readonly timings: JobTimings;
}
