import type { CounterStore } from './counters.ts';

/** A delivery of a message of a queue. */
export interface Delivery {
  readonly messageId: string;
  /** How often SQS has delivered the message, this time included. */
  readonly received: number;
}

const DAY_MS = 86_400_000;

/**
 * Notes that a limit makes a message wait for `pauseMs` milliseconds after this delivery. SQS keeps no such mark itself.
 * @throws the table's errors
 */
export async function noteWait(
  store: CounterStore,
  { messageId, received }: Delivery,
  pauseMs: number,
  now: number,
): Promise<void> {
  const expiresAt = BigInt(Math.ceil((now + pauseMs + DAY_MS) / 1000));
  await store.write({ pk: getWaitPartition(messageId), set: { received: BigInt(received), expiresAt } });
}

/**
 * Returns whether the delivery before this one was noted as waiting, so that it can't have crashed.
 * @throws the table's errors
 */
export async function hasWaited(store: CounterStore, { messageId, received }: Delivery): Promise<boolean> {
  const noted = (await store.read(getWaitPartition(messageId)))['received'];
  return noted !== undefined && noted === BigInt(received) - 1n;
}

function getWaitPartition(messageId: string): string {
  return `wait#${messageId}`;
}
