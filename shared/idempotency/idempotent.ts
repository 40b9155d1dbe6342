import { createHash, randomUUID } from 'node:crypto';
import * as v from 'valibot';
import type { Bodies } from '../jobs/ports.ts';
import { LambentError } from '../runtime/errors.ts';
import type { HttpAnswer, HttpRequest, Route } from '../runtime/http.ts';
import { describeError, type Logger } from '../runtime/logger.ts';
import type { RecordName, Vault } from '../vault/vault.ts';
import type { ClaimKey, Claims } from './claims.ts';

/** What keeps the answers of idempotent calls. */
export interface Idempotency {
  readonly claims: Claims;
  readonly bodies: Bodies;
  readonly vault: Vault;
  readonly logger: Pick<Logger, 'warn'>;
  /** Epoch milliseconds. */
  readonly now?: () => number;
}

export interface IdempotentOptions {
  /** The route's name: the same key on another route is another key. */
  readonly name: string;
  /** Loads what keeps the answers; called for requests with a key only. */
  readonly open: () => Promise<Idempotency>;
  /** Whether the answer to this body may be kept; a repetition is refused where not. */
  readonly keeps?: (body: unknown) => boolean;
  /** Whether a frame of a stream may be its last: it is held back until the answer is kept. */
  readonly mayEnd?: (frame: string) => boolean;
}

const DAY_SECONDS = 86_400;
/** A key is a word of the caller's making; a UUID has 36 characters. */
const MAX_KEY_LENGTH = 255;
/** After its deadline a function is gone, and with it the attempt. */
const CLAIM_MARGIN_MS = 5_000;
/** What the second of two at once is told to wait. */
const RETRY_AFTER_MS = 2_000;
/** A longer stream is not kept: its memory is the function's, and its repetition is refused. */
const MAX_KEPT_CHARACTERS = 16_000_000;

/**
 * Makes a route answer once for each `Idempotency-Key`: the same key and body get the first answer again for 24 hours,
 * and nothing is done a second time. A failed attempt frees its key, and so does one that crashed, when its time is over.
 * Only whole answers are kept. Its `run` throws LambentError `idempotency_key_reused` for another body,
 * `idempotency_key_in_use` while the first attempt runs, `idempotent_answer_not_kept`, and what the route throws.
 */
export function idempotent(route: Route, options: IdempotentOptions): Route {
  return {
    ...route,
    async run(request) {
      const word = request.headers['idempotency-key'];
      if (word === undefined) return route.run(request);
      return new Attempt(await options.open(), options, request, keyOf(options.name, word, request)).run(route);
    },
  };
}

/** One call with a key. */
class Attempt {
  readonly #idempotency: Idempotency;
  readonly #options: IdempotentOptions;
  readonly #request: HttpRequest;
  readonly #key: ClaimKey;
  readonly #owner = randomUUID();
  readonly #expiresAt: number;
  readonly #keeps: boolean;

  constructor(idempotency: Idempotency, options: IdempotentOptions, request: HttpRequest, key: ClaimKey) {
    this.#idempotency = idempotency;
    this.#options = options;
    this.#request = request;
    this.#key = key;
    this.#expiresAt = Math.floor(this.#now / 1000) + DAY_SECONDS;
    this.#keeps = options.keeps?.(request.body) ?? true;
  }

  async run(route: Route): Promise<HttpAnswer> {
    const earlier = await this.#take();
    if (earlier !== undefined) return earlier;
    try {
      const answer = await route.run(this.#request);
      if ('frames' in answer) return { ...answer, frames: this.#recorded(answer.frames, answer.headers) };
      await this.#finish(answer);
      return answer;
    } catch (error) {
      await this.#release();
      throw error;
    }
  }

  /** Takes the key, or gives the first attempt's answer. */
  async #take(): Promise<HttpAnswer | undefined> {
    const { claims, vault } = this.#idempotency;
    const fingerprint = fingerprintOf(this.#request.body);
    const claim = await claims.take(
      this.#key,
      {
        owner: this.#owner,
        until: this.#request.deadlineAt + CLAIM_MARGIN_MS,
        fingerprint: await vault.seal(this.#fingerprintName, fingerprint),
        expiresAt: this.#expiresAt,
      },
      this.#now,
    );
    if (claim === undefined) return undefined;
    const first = await vault.open(this.#fingerprintName, claim.fingerprint);
    if (!fingerprint.equals(first)) throw reused();
    if (claim.outcome === undefined) throw inUse();
    if (claim.outcome.kept === 'nowhere') throw notKept();
    return replayed(await this.#idempotency.bodies.read(this.#bodyName, { place: claim.outcome.kept }));
  }

  /** The frames as they come, gathered on the way; the last ones wait until they are kept. */
  async *#recorded(
    frames: AsyncIterable<string, unknown>,
    headers: HttpAnswer['headers'],
  ): AsyncGenerator<string, unknown> {
    const gathered: string[] = [];
    let characters = 0;
    let held = '';
    let whole: unknown = false;
    const iterator = frames[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await iterator.next();
        if (next.done) {
          whole = next.value;
          break;
        }
        characters += next.value.length;
        if (characters <= MAX_KEPT_CHARACTERS) gathered.push(next.value);
        held += next.value;
        if (this.#options.mayEnd?.(next.value)) continue;
        yield held;
        held = '';
      }
      if (whole === true) await this.#finish({ headers, frames: gathered }, characters <= MAX_KEPT_CHARACTERS);
      if (held !== '') yield held;
      return whole;
    } finally {
      if (whole !== true) await this.#release();
      await iterator.return?.();
    }
  }

  /**
   * Keeps an answer. When that fails the answer is given all the same: it is there and charged, and refusing it would
   * only make its caller ask for another.
   */
  async #finish(answer: Kept, fits = true): Promise<void> {
    const { claims, bodies, logger } = this.#idempotency;
    try {
      const kept =
        this.#keeps && fits
          ? (await bodies.write({ ...this.#bodyName, expiresAt: this.#expiresAt }, answer)).place
          : 'nowhere';
      await claims.finish(this.#key, this.#owner, { kept });
    } catch (thrown) {
      logger.warn('idempotent answer not kept', describeError(thrown));
    }
  }

  /** A claim that can't be given back expires. */
  async #release(): Promise<void> {
    try {
      await this.#idempotency.claims.release(this.#key, this.#owner);
    } catch (thrown) {
      this.#idempotency.logger.warn('idempotency key not released', describeError(thrown));
    }
  }

  get #now(): number {
    return (this.#idempotency.now ?? Date.now)();
  }

  get #fingerprintName(): RecordName {
    return { tenant: this.#key.tenant, kind: 'idempotent-answer', id: this.#key.id, epoch: 0, field: 'fingerprint' };
  }

  get #bodyName() {
    return { tenant: this.#key.tenant, id: this.#key.id, kind: 'output', epoch: 0 } as const;
  }
}

type Kept =
  | Extract<HttpAnswer, { json: unknown }>
  | { readonly headers: HttpAnswer['headers']; readonly frames: readonly string[] };

/** The key in the table: hashed, since a caller's words may say what they are about. */
function keyOf(name: string, word: string, { principal, pathParameters }: HttpRequest): ClaimKey {
  if (word === '' || word.length > MAX_KEY_LENGTH) {
    throw new LambentError('invalid_value', `Invalid 'Idempotency-Key': expected 1 to ${MAX_KEY_LENGTH} characters.`);
  }
  const text = JSON.stringify([name, pathParameters, word]);
  return { tenant: principal.tenant, id: `idem#${createHash('sha256').update(text).digest('hex')}` };
}

/** What tells one body from another, however its fields are ordered. */
function fingerprintOf(body: unknown): Buffer {
  return createHash('sha256')
    .update(JSON.stringify(body, inOrder) ?? '')
    .digest();
}

function inOrder(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const headersSchema = v.optional(v.record(v.string(), v.string()), {});
const keptSchema = v.union([
  v.object({ headers: headersSchema, frames: v.array(v.string()) }),
  v.object({ status: v.optional(v.number(), 200), headers: headersSchema, json: v.unknown() }),
]);

/** A kept answer, given again. Whoever wonders can tell by its header. */
function replayed(kept: unknown): HttpAnswer {
  const result = v.safeParse(keptSchema, kept);
  if (!result.success) throw new LambentError('record_unreadable', 'An idempotent answer is not one');
  const answer = result.output;
  const headers = { ...answer.headers, 'idempotent-replayed': 'true' };
  if (!('frames' in answer)) return { status: answer.status, headers, json: answer.json };
  return { headers, frames: again(answer.frames) };
}

async function* again(frames: readonly string[]): AsyncGenerator<string, true> {
  yield* frames;
  return true;
}

function reused(): LambentError {
  return new LambentError('idempotency_key_reused', 'This idempotency key was used with another body before.');
}

function inUse(): LambentError {
  const message = 'A request with this idempotency key is still running. Try again soon.';
  return new LambentError('idempotency_key_in_use', message, { retryAfterMs: RETRY_AFTER_MS });
}

function notKept(): LambentError {
  const message = 'A request with this idempotency key has been answered, and its answer was not to be stored.';
  return new LambentError('idempotent_answer_not_kept', message);
}
