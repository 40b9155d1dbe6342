import { type ContinuationSeal, isSealedPart } from './continuation-seal.ts';
import type { Continuation, Message, ReasoningPart } from './generation.ts';

/** Returns the messages with their sealed continuations opened. Drops those that can't be opened. */
export async function openMessages(
  messages: readonly Message[],
  seal: Pick<ContinuationSeal, 'open'>,
  tenant: string,
): Promise<readonly Message[]> {
  const opened: Message[] = [];
  // One after the other, so that a request causes no further lookups after one that fails.
  for (const message of messages) {
    if (message.role !== 'assistant') {
      opened.push(message);
      continue;
    }
    const content = [];
    for (const part of message.content) content.push(isSealedPart(part) ? await openPart(part, seal, tenant) : part);
    opened.push({ ...message, content });
  }
  return opened;
}

async function openPart(
  { continuation, ...part }: ReasoningPart & { continuation: Continuation },
  seal: Pick<ContinuationSeal, 'open'>,
  tenant: string,
): Promise<ReasoningPart> {
  return { ...part, ...(await seal.open(continuation, tenant)) };
}
