import { findChangedEntries } from '../../shared/gpu/placement/prefix-directory.ts';
import { deriveTenantSalt, hashPrefixes, type PromptPrefixes } from '../../shared/gpu/placement/prompt.ts';
import { PLACEMENT_SETTINGS } from '../../shared/gpu/placement/settings.ts';
import type { FleetStore } from '../../shared/gpu/registry/fleet-store.ts';
import type { Message } from '../../shared/inference/generation.ts';
import { canonicalizePrompt } from '../../shared/inference/providers/gpu/canonical-prompt.ts';
import { BOOT_ID, type FleetSize, toFleetName, toTenantName, toWorkerId } from './fleet-table.ts';
import { MODEL } from './functions.ts';

/** A conversation whose first three quarters some worker has served, and whose next turn is to be placed. */
export interface Conversation {
  readonly tenant: string;
  readonly served: readonly Message[];
  /** What comes after the words that make each next turn another one. */
  readonly rest: readonly Message[];
}

const CONVERSATIONS = 16;
/** Of a talk: six have been served, two have not. */
const MESSAGES = 8;
const BYTES_PER_TOKEN = 4;
/** Longer than any run, milliseconds. */
const KNOWN_MS = 86_400_000;

const PROSE =
  'What the directory knows of a prompt is a hint: if it knows it wrongly, it costs time and nothing else. ';

/** Talks of about so many tokens; the same ones each time. */
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

/** The messages of a turn that nobody has asked for before. */
export function createNextTurn({ served, rest }: Conversation, name: string): Message[] {
  return [...served, createUserMessage(`Question ${name}.`), ...rest];
}

/** A prompt's prefixes, made as a provider makes them. */
export function toPrefixes(fleet: string, tenant: string, messages: readonly Message[]): PromptPrefixes {
  const owner = { tenant, model: MODEL, salt: deriveTenantSalt(tenant, fleet) };
  return hashPrefixes(canonicalizePrompt({ tools: [], messages }), owner);
}

/** Has the directory know a worker for what has been served of each talk. */
export async function recordServedPrefixes(store: FleetStore, size: FleetSize, promptTokens: number): Promise<void> {
  const fleet = toFleetName(size);
  for (const [index, { tenant, served }] of createConversations(promptTokens).entries()) {
    const holder = { workerId: toWorkerId((7 * index) % size.workers), bootId: BOOT_ID };
    const prompt = toPrefixes(fleet, tenant, served);
    const known = { ...PLACEMENT_SETTINGS, directoryMs: KNOWN_MS };
    await store.recordHolders(fleet, findChangedEntries(prompt, holder, new Map(), { workers: [] }, known, Date.now()));
  }
}

function createUserMessage(text: string): Message {
  return { role: 'user', content: [{ type: 'text', text }] };
}
