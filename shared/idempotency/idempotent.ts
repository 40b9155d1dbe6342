import { createHash, randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { Bodies } from '../jobs/ports.ts';
import { LambentError } from '../runtime/errors.ts';
import type { HttpAnswer, HttpRequest, Route } from '../runtime/http.ts';
import { describeError, type Logger } from '../runtime/logger.ts';
import type { RecordName, Vault } from '../vault/vault.ts';
import type { ClaimKey, Claims, Taking } from './claims.ts';
import { fingerprintOf } from './fingerprint.ts';
import { CLAIM_MS, type HeldKey, holdKey } from './held-key.ts';
import { type Kept, replayed } from './kept-answer.ts';

/** What keeps the answers of idempotent calls. */
export interface Idempotency {
  readonly claims: Claims;
  readonly bodies: Bodies;
  readonly vault: Vault;
  readonly logger: Pick<Logger, 'warn'>;
  /** Epoch milliseconds. */
  readonly now?: () => number;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface IdempotentOptions {
  /** The route's name: the same key on another route is another key. */
  readonly name: string;
  /** Loads what keeps the answers; called for requests with a key only. */
  readonly open: () => Promise<Idempotency>;
  /** Whether the answer to this body may be kept; a repetition is refused where not. */
  readonly keeps?: (body: unknown) => boolean;
  /** Whether the route itself finds what an earlier call with this body and its key made: it needn't wait for that one. */
  readonly findsEarlier?: (body: unknown) => boolean;
  /** Whether a frame of a stream may be its last: it is held back until the answer is kept. */
  readonly mayEnd?: (frame: string) => boolean;
}

const DAY_SECONDS = 86_400;
/** A key is a word of the caller's making; a UUID has 36 characters. */
const MAX_KEY_LENGTH = 255;
/** What the second of two at once is told to wait. */
const RETRY_AFTER_MS = 2_000;
/** A longer stream is not kept: its memory is the function's, and its repetition is refused. */
const MAX_KEPT_CHARACTERS = 16_000_000;

/**
 * Makes a route answer once for each `Idempotency-Key`: the same key and body get the first answer again for 24 hours,
 * and nothing is done a second time. A failed attempt frees its key, and so does one that crashed, half a minute after it
 * was last heard of; one that can't be heard of so long stops. Only whole answers are kept. Its `run` throws LambentError
 * `idempotency_key_reused` for another body, `idempotency_key_in_use` while the first attempt runs,
 * `idempotent_answer_not_kept`, and what the route throws.
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
    this.#expiresAt = Math.floor(this.#now() / 1000) + DAY_SECONDS;
    this.#keeps = options.keeps?.(request.body) ?? true;
  }

  async run(route: Route): Promise<HttpAnswer> {
    const { taking, until } = await this.#take();
    if (taking.taken) return this.#first(route, { epoch: taking.epoch, ...this.#hold(until) });
    const { claim } = taking;
    if (claim.outcome === undefined) return this.#beside(route);
    if (claim.outcome.kept === 'nowhere') throw notKept();
    return replayed(await this.#idempotency.bodies.read(this.#bodyName(claim), { place: claim.outcome.kept }));
  }

  /** Takes the key, or finds who has it: somebody with the same body. */
  async #take(): Promise<{ readonly taking: Taking; readonly until: number }> {
    const { claims, vault } = this.#idempotency;
    const asked = fingerprintOf(this.#request.body);
    const fingerprint = await vault.seal(this.#fingerprintName, asked);
    const now = this.#now();
    const until = now + CLAIM_MS;
    const claimant = { owner: this.#owner, until, fingerprint, expiresAt: this.#expiresAt };
    const taking = await claims.take(this.#key, claimant, now);
    if (taking.taken) return { taking, until };
    const first = await vault.open(this.#fingerprintName, taking.claim.fingerprint);
    if (!asked.equals(first)) throw reused();
    return { taking, until };
  }

  #hold(until: number): HeldKey {
    const { claims, sleep = sleepFor } = this.#idempotency;
    const renew = (next: number) => claims.renew(this.#key, this.#owner, next);
    return holdKey(until, { renew, now: () => this.#now(), sleep }, inUse);
  }

  async #first(route: Route, held: Held): Promise<HttpAnswer> {
    try {
      const signal = AbortSignal.any([this.#request.signal, held.lost]);
      const answer = await route.run({ ...this.#request, signal });
      if ('frames' in answer) return { ...answer, frames: this.#recorded(answer.frames, answer.headers, held) };
      await this.#finish(answer, held);
      await held.letGo();
      return answer;
    } catch (error) {
      await this.#release(held);
      throw error;
    }
  }

  /** Another attempt runs. What it may have made by now can be shown all the same, where it can be found. */
  #beside(route: Route): Promise<HttpAnswer> {
    if (this.#options.findsEarlier?.(this.#request.body)) return route.run(this.#request);
    throw inUse();
  }

  /** The frames as they come, gathered on the way; the last ones wait until they are kept. */
  async *#recorded(
    frames: AsyncIterable<string, unknown>,
    headers: HttpAnswer['headers'],
    held: Held,
  ): AsyncGenerator<string, unknown> {
    const gathered: string[] = [];
    let characters = 0;
    let last = '';
    let finished = false;
    const iterator = frames[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await iterator.next();
        if (next.done) {
          const whole = next.value === true;
          if (whole) await this.#finish({ headers, frames: gathered }, held, characters <= MAX_KEPT_CHARACTERS);
          finished = whole;
          if (last !== '') yield last;
          return next.value;
        }
        characters += next.value.length;
        if (characters <= MAX_KEPT_CHARACTERS) gathered.push(next.value);
        last += next.value;
        if (this.#options.mayEnd?.(next.value)) continue;
        yield last;
        last = '';
      }
    } finally {
      await (finished ? held.letGo() : this.#release(held));
      await iterator.return?.();
    }
  }

  /**
   * Keeps an answer. When that fails the answer is given all the same: it is there and charged, and refusing it would
   * only make its caller ask for another.
   * @throws LambentError `idempotency_key_in_use` when another has the key by now: the answer will be that one's
   */
  async #finish(answer: Kept, held: Held, fits = true): Promise<void> {
    const { claims, bodies, logger } = this.#idempotency;
    held.lost.throwIfAborted();
    let isOurs = true;
    try {
      const kept =
        this.#keeps && fits
          ? (await bodies.write({ ...this.#bodyName(held), expiresAt: this.#expiresAt }, answer)).place
          : 'nowhere';
      isOurs = await claims.finish(this.#key, this.#owner, { kept });
    } catch (thrown) {
      logger.warn('idempotent answer not kept', describeError(thrown));
    }
    if (!isOurs) throw inUse();
  }

  /** A claim that can't be given back expires. */
  async #release(held: Held): Promise<void> {
    await held.letGo();
    try {
      await this.#idempotency.claims.release(this.#key, this.#owner);
    } catch (thrown) {
      this.#idempotency.logger.warn('idempotency key not released', describeError(thrown));
    }
  }

  #now(): number {
    return (this.#idempotency.now ?? Date.now)();
  }

  get #fingerprintName(): RecordName {
    return { tenant: this.#key.tenant, kind: 'idempotent-answer', id: this.#key.id, epoch: 0, field: 'fingerprint' };
  }

  /** Each attempt's own, lest one that was taken over write over its successor's answer. */
  #bodyName({ epoch }: Pick<Held, 'epoch'>) {
    return { tenant: this.#key.tenant, id: this.#key.id, kind: 'output', epoch } as const;
  }
}

/** A key that this attempt has, and its number. */
interface Held extends HeldKey {
  readonly epoch: number;
}

function sleepFor(ms: number, signal: AbortSignal): Promise<void> {
  return setTimeout(ms, undefined, { signal, ref: false }).catch(() => {});
}

/** The key in the table: hashed, since a caller's words may say what they are about. */
function keyOf(name: string, word: string, { principal, pathParameters }: HttpRequest): ClaimKey {
  if (word === '' || word.length > MAX_KEY_LENGTH) {
    throw new LambentError('invalid_value', `Invalid 'Idempotency-Key': expected 1 to ${MAX_KEY_LENGTH} characters.`);
  }
  const text = JSON.stringify([name, pathParameters, word]);
  return { tenant: principal.tenant, id: `idem#${createHash('sha256').update(text).digest('hex')}` };
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
