import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { isObject, omitUndefined } from '../core/objects.ts';
import { deriveStackKey } from '../core/stack-key.ts';
import type { Continuation, GenerationEvent, Message, ReasoningPart } from './generation.ts';
import type { Model } from './model.ts';

/** Hides from callers which provider, model family and upstream a continuation belongs to. */
export interface ContinuationSeal {
  /** Encrypts a continuation for the tenant that gets it. The result's provider is `sealed`. */
  seal(continuation: Continuation, tenant: string): Continuation;
  /**
   * Decrypts a result of `seal`. Returns undefined for another tenant's, another stack's or a changed one. Returns any
   * other continuation as it is: earlier versions did not seal.
   */
  open(continuation: Continuation, tenant: string): Continuation | undefined;
}

/** The `provider` of every sealed continuation. */
const SEALED = 'sealed';
const ALGORITHM = 'aes-256-gcm';
const PURPOSE = 'lambent continuation 1';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Creates a seal. It protects no content: a caller may read what its own continuations contain.
 * @param stackId as for `deriveStackKey`
 */
export function createContinuationSeal(stackId: string): ContinuationSeal {
  const key = deriveStackKey(stackId, PURPOSE);
  return {
    seal(continuation, tenant) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(ALGORITHM, key, nonce).setAAD(Buffer.from(tenant));
      const sealed = [nonce, cipher.update(JSON.stringify(continuation)), cipher.final(), cipher.getAuthTag()];
      return { provider: SEALED, data: Buffer.concat(sealed).toString('base64url') };
    },
    open(continuation, tenant) {
      if (continuation.provider !== SEALED) return continuation;
      if (typeof continuation.data !== 'string') return undefined;
      const sealed = Buffer.from(continuation.data, 'base64url');
      if (sealed.length < NONCE_BYTES + TAG_BYTES) return undefined;
      const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(0, NONCE_BYTES))
        .setAAD(Buffer.from(tenant))
        .setAuthTag(sealed.subarray(-TAG_BYTES));
      try {
        const text = Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
        return toContinuation(JSON.parse(text.toString('utf8')));
      } catch {
        return undefined;
      }
    },
  };
}

function toContinuation(value: unknown): Continuation | undefined {
  if (!isObject(value) || typeof value['provider'] !== 'string') return undefined;
  return { provider: value['provider'], data: value['data'] };
}

/** Returns the same model, which takes and gives sealed continuations. Drops those that it can't open. */
export function sealContinuations(model: Model, seal: ContinuationSeal): Model {
  return {
    ...model,
    async *generate(request, call) {
      const { tenant } = request;
      const messages = request.messages.map((message) => openMessage(message, seal, tenant));
      for await (const event of model.generate({ ...request, messages }, call)) yield sealEvent(event, seal, tenant);
    },
  };
}

function sealEvent(event: GenerationEvent, seal: ContinuationSeal, tenant: string): GenerationEvent {
  if (event.type !== 'reasoningEnd' || event.continuation === undefined) return event;
  return { ...event, continuation: seal.seal(event.continuation, tenant) };
}

function openMessage(message: Message, seal: ContinuationSeal, tenant: string): Message {
  if (message.role !== 'assistant') return message;
  const content = message.content.map((part) => (part.type === 'reasoning' ? openPart(part, seal, tenant) : part));
  return { ...message, content };
}

function openPart({ continuation, ...part }: ReasoningPart, seal: ContinuationSeal, tenant: string): ReasoningPart {
  return { ...part, ...omitUndefined({ continuation: continuation && seal.open(continuation, tenant) }) };
}
