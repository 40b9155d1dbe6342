import type { Cloud } from '../../local/cloud.ts';
import { unwrapRejected } from '../../shared/lambda/rejected-message.ts';
import { createQueueClient, readQueue } from './queue-reader.ts';

/** The messages of the dead-letter queues. */
export interface DeadLetters {
  /** Of rejected messages, the bodies that were rejected. */
  readonly bodies: ReadonlySet<string>;
  close(): void;
}

const QUEUES = ['GENERATION_DLQ_URL', 'JOBS_DLQ_URL', 'GPU_DLQ_URL'] as const;

/** Reads the dead-letter queues until closed. */
export function readDeadLetters(cloud: Cloud): DeadLetters {
  const client = createQueueClient(cloud);
  const bodies = new Set<string>();
  const ended = new AbortController();
  for (const queue of QUEUES) {
    const note = (body: string) => void bodies.add(unwrapRejected(body));
    void readQueue(client, cloud.resources[queue] ?? '', note, ended.signal);
  }
  return {
    bodies,
    close() {
      ended.abort();
      client.destroy();
    },
  };
}
