import { findChangedEntries } from '../../shared/gpu/placement/prefix-directory.ts';
import { deriveTenantSalt, hashPrefixes, type PromptPrefixes } from '../../shared/gpu/placement/prompt.ts';
import { PLACEMENT_SETTINGS } from '../../shared/gpu/placement/settings.ts';
import type { FleetStore } from '../../shared/gpu/registry/fleet-store.ts';
import type { Message } from '../../shared/inference/generation.ts';
import { canonicalizePrompt } from '../../shared/inference/providers/gpu/canonical-prompt.ts';
import { BOOT_ID, type FleetSize, toFleetName, toTenantName, toWorkerId } from './fleet-table.ts';
import { MODEL } from './functions.ts';

/** A conversation of which a worker has served the first three quarters. The next turn is placed. */
export interface Conversation {
  readonly tenant: string;
  readonly served: readonly Message[];
  /** Messages after the text that makes each next turn unique. */
  readonly rest: readonly Message[];
}

const CONVERSATIONS = 16;
/** Per conversation: six served, two new. */
const MESSAGES = 8;
const BYTES_PER_TOKEN = 4;
/** Lifetime of directory entries, longer than any run. */
const DIRECTORY_MS = 86_400_000;

const PROSE =
  'An entry of the prefix directory is a hint: if it is wrong, the request takes longer, and nothing else. ';

/** Returns conversations of about `promptTokens` tokens, the same on each call. */
export function createConversations(promptTokens: number): Conversation[] {
  const bytes = (promptTokens * BYTES_PER_TOKEN) / MESSAGES;
  return Array.from({ length: CONVERSATIONS }, (_, talk) => {
    const messages = Array.from({ length: MESSAGES }, (_, index) => {
      const begin = `Talk ${talk} of ${promptTokens} tokens, message ${index}. `;
      return createUserMessage(begin + PROSE.repeat(Math.ceil(bytes / PROSE.length)).slice(0, bytes - begin.length));
    });
    const servedCount = (MESSAGES * 3) / 4;
    return { tenant: toTenantName(talk), served: messages.slice(0, servedCount), rest: messages.slice(servedCount) };
  });
}

/** Returns the messages of a turn that has not been requested before. */
export function createNextTurn({ served, rest }: Conversation, name: string): Message[] {
  return [...served, createUserMessage(`Question ${name}.`), ...rest];
}

/** Returns a prompt's prefixes, computed as the GPU provider does. */
export function toPrefixes(fleet: string, tenant: string, messages: readonly Message[]): PromptPrefixes {
  const owner = { tenant, model: MODEL, salt: deriveTenantSalt(tenant, fleet) };
  return hashPrefixes(canonicalizePrompt({ tools: [], messages }), owner);
}

/** Records in the prefix directory which worker has served each conversation. */
export async function recordServedPrefixes(store: FleetStore, size: FleetSize, promptTokens: number): Promise<void> {
  const fleet = toFleetName(size);
  for (const [index, { tenant, served }] of createConversations(promptTokens).entries()) {
    const holder = { workerId: toWorkerId((7 * index) % size.workers), bootId: BOOT_ID };
    const prompt = toPrefixes(fleet, tenant, served);
    const settings = { ...PLACEMENT_SETTINGS, directoryMs: DIRECTORY_MS };
    await store.recordHolders(
      fleet,
      findChangedEntries(prompt, holder, new Map(), { workers: [] }, settings, Date.now()),
    );
  }
}

function createUserMessage(text: string): Message {
  return { role: 'user', content: [{ type: 'text', text }] };
}
