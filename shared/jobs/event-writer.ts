import { firstSequenceOf } from './blobs.ts';
import type { Job } from './job.ts';
import type { EventChunk, EventLog } from './ports.ts';

/** A chunk is closed at this age, in milliseconds: readers are a quarter of a second behind, for four writes a second. */
export const CHUNK_MS = 250;

/**
 * Numbers the events of one attempt and appends them to the log in chunks. Each chunk waits for the one before it, so
 * that a reader never sees a gap.
 */
export class EventWriter {
  readonly #job: Job;
  readonly #log: Pick<EventLog, 'append'>;
  #next: number;
  #events: EventChunk['events'][number][] = [];
  #timer: NodeJS.Timeout | undefined;
  #appending: Promise<void> = Promise.resolve();
  #failure: { readonly thrown: unknown } | undefined;

  constructor(job: Job, log: Pick<EventLog, 'append'>) {
    this.#job = job;
    this.#log = log;
    this.#next = firstSequenceOf(job.epoch);
  }

  /** The number that the next event would have. */
  get next(): number {
    return this.#next;
  }

  /** Takes a copy of an event, which may go on changing. Throws the error of an earlier chunk. */
  write(event: { readonly type: string; readonly [field: string]: unknown }): void {
    if (this.#failure !== undefined) throw this.#failure.thrown;
    this.#timer ??= setTimeout(() => this.#close(), CHUNK_MS);
    this.#events.push({ ...structuredClone(event), sequence_number: this.#next });
    this.#next += 1;
  }

  /** Waits until every event is in the log. Throws the error of a chunk. */
  async flush(): Promise<void> {
    this.#close();
    await this.#appending;
    if (this.#failure !== undefined) throw this.#failure.thrown;
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#events.length === 0) return;
    const { tenant, id, epoch, expiresAt } = this.#job;
    const events = this.#events;
    this.#events = [];
    const firstSequence = this.#next - events.length;
    this.#appending = this.#appending
      .then(() => this.#log.append({ tenant, id, epoch, firstSequence, events, expiresAt }))
      .catch((thrown: unknown) => {
        this.#failure ??= { thrown };
      });
  }
}
