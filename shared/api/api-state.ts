import type { JobList } from '../jobs/job-list.ts';
import type { Lifetime } from '../jobs/lifetime.ts';
import type { Bodies, EventLog, JobStore, TicketQueue } from '../jobs/ports.ts';
import type { JobTimings } from '../jobs/timings.ts';
import type { Conversations } from '../sessions/conversations.ts';
import type { Vault } from '../vault/vault.ts';
import type { QueueLimits } from './queue-limits.ts';
import type { OpenStorageLimits } from './storage-limits.ts';

/** The stores and settings that stateful endpoints use. */
export interface ApiState {
  readonly vault: Pick<Vault, 'prepareSeal' | 'seal' | 'open' | 'openReceived'>;
  readonly jobs: JobStore;
  readonly bodies: Bodies;
  readonly events: EventLog;
  readonly queue: TicketQueue;
  /** The tenants' stored chat completions. */
  readonly chats: JobList;
  readonly conversations: Conversations;
  /** Opens the limits of queued work, at the first request that has some. */
  readonly openQueueLimits: () => Promise<QueueLimits>;
  readonly openStorageLimits: OpenStorageLimits;
  readonly lifetime: Lifetime;
  readonly timings: JobTimings;
}
