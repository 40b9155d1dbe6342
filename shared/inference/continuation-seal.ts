import { LambentError } from '../core/errors.ts';
import { isObject } from '../core/objects.ts';
import type { RecordName, Vault } from '../vault/vault.ts';
import type { Continuation, Message, ReasoningPart } from './generation.ts';
import type { Model } from './model.ts';

/** The `provider` of every sealed continuation. */
export const SEALED = 'vault';

/** Reasoning whose provider needs it back. */
export interface ContinuedReasoning {
  readonly text: string;
  readonly continuation: Continuation;
}

/**
 * Seals the reasoning that callers keep and send back. Callers learn neither provider nor model from it, and nothing opens
 * it after its tenant was erased.
 */
export interface ContinuationSeal {
  /**
   * Seals reasoning for the tenant that gets it. The result's provider is `SEALED`.
   * @throws LambentError as `Vault.seal` does
   */
  seal(reasoning: ContinuedReasoning, tenant: string): Promise<Continuation>;
  /**
   * Opens a result of `seal`. Returns undefined for another tenant's or a changed one.
   * @throws LambentError `vault_unavailable`, `tenant_deleted`
   */
  open(continuation: Continuation, tenant: string): Promise<ContinuedReasoning | undefined>;
}

/** Creates a seal under the tenants' keys. */
export function createContinuationSeal(openVault: () => Promise<Pick<Vault, 'seal' | 'open'>>): ContinuationSeal {
  return {
    async seal({ text, continuation }, tenant) {
      const vault = await openVault();
      const sealed = await vault.seal(recordName(tenant), Buffer.from(JSON.stringify({ text, continuation })));
      return { provider: SEALED, data: Buffer.from(sealed).toString('base64url') };
    },
    async open({ data }, tenant) {
      if (typeof data !== 'string') return undefined;
      const vault = await openVault();
      try {
        const opened = await vault.open(recordName(tenant), Buffer.from(data, 'base64url'));
        return toReasoning(JSON.parse(Buffer.from(opened).toString('utf8')));
      } catch (thrown) {
        if (thrown instanceof LambentError && thrown.code === 'record_unreadable') return undefined;
        throw thrown;
      }
    },
  };
}

function recordName(tenant: string): RecordName {
  return { tenant, kind: 'continuation', id: '', epoch: 0, field: '' };
}

function toReasoning(value: unknown): ContinuedReasoning | undefined {
  if (!isObject(value) || typeof value['text'] !== 'string' || !isObject(value['continuation'])) return undefined;
  const { provider, data } = value['continuation'];
  return typeof provider === 'string' ? { text: value['text'], continuation: { provider, data } } : undefined;
}

/**
 * Returns the same model, which takes and gives sealed continuations. Drops those that it can't open, and those of answers
 * whose caller doesn't get them.
 */
export function sealContinuations(model: Model, seal: ContinuationSeal): Model {
  return {
    ...model,
    async *generate(request, call) {
      const { tenant, omitsContinuations = false } = request;
      const messages = await openMessages(request.messages, seal, tenant);
      let text = '';
      for await (const event of model.generate({ ...request, messages }, call)) {
        if (event.type !== 'reasoningEnd') {
          text = event.type === 'reasoning' ? text + event.text : '';
          yield event;
          continue;
        }
        const { continuation, ...end } = event;
        yield continuation === undefined || omitsContinuations
          ? end
          : { ...end, continuation: await seal.seal({ text, continuation }, tenant) };
        text = '';
      }
    },
  };
}

async function openMessages(
  messages: readonly Message[],
  seal: ContinuationSeal,
  tenant: string,
): Promise<readonly Message[]> {
  if (!messages.some((message) => message.role === 'assistant' && message.content.some(isSealed))) return messages;
  const opened: Message[] = [];
  // One after the other, so that the first that the vault refuses is the last that a caller makes it look up.
  for (const message of messages) {
    if (message.role !== 'assistant') {
      opened.push(message);
      continue;
    }
    const content = [];
    for (const part of message.content) content.push(isSealed(part) ? await openPart(part, seal, tenant) : part);
    opened.push({ ...message, content });
  }
  return opened;
}

function isSealed(part: { readonly type: string }): part is ReasoningPart & { continuation: Continuation } {
  return part.type === 'reasoning' && 'continuation' in part && Object(part.continuation).provider === SEALED;
}

async function openPart(
  { continuation, ...part }: ReasoningPart & { continuation: Continuation },
  seal: ContinuationSeal,
  tenant: string,
): Promise<ReasoningPart> {
  return { ...part, ...(await seal.open(continuation, tenant)) };
}
