import { createHash, randomUUID } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { HttpRequest, Route } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import { computeFingerprint } from '../core/fingerprint.ts';
import { describeError } from '../core/logger.ts';
import type { Bodies, BodyName, JobStore } from '../jobs/ports.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import type { RecordName, Vault } from '../vault/vault.ts';
import type { ClaimKey, Claims, Outcome, Taking } from './idempotency-records.ts';
import { type ClaimTimings, type HeldKey, holdKey } from './record-lease.ts';
import { type Kept, type Reference, replayed, shownAgain } from './replay.ts';

/** What keeps the answers of idempotent calls. */
export interface Idempotency {
  readonly claims: Claims;
  readonly bodies: Bodies;
  /** What tells whether a stored response is still there. */
  readonly jobs: Pick<JobStore, 'read'>;
  readonly vault: Vault;
  readonly timings: ClaimTimings;
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
  /** How the answer is repeated where it is not to be kept itself. */
  readonly reference?: Reference;
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
 * was last heard of; one that can't be heard of so long stops. Only whole answers are kept, and given again as long as what
 * they show has not been deleted: it isn't made anew either, since a repetition may be nothing but late. Its `run` throws
 * LambentError `idempotency_key_reused` for another body, `idempotency_key_in_use` while the first attempt runs,
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

  async run(route: Route): Promise<HttpResponse> {
    const { taking, until } = await this.#take();
    if (taking.taken) return this.#first(route, { epoch: taking.epoch, ...this.#hold(until) });
    const { claim } = taking;
    return claim.outcome === undefined ? this.#beside(route) : this.#again(claim.epoch, claim.outcome);
  }

  /** Gives the first answer again, as long as what it shows is there. */
  async #again(epoch: number, { kept, response }: Outcome): Promise<HttpResponse> {
    const { reference } = this.#options;
    if (kept === 'nowhere') throw response === undefined ? notKept() : deleted();
    const name = this.#bodyName(epoch, response);
    if (response === undefined) {
      const answer = await this.#idempotency.bodies.read(name, { place: kept });
      return reference === undefined ? replayed(answer) : shownAgain(answer, this.#request, reference).catch(asDeleted);
    }
    const answer = await this.#idempotency.bodies.find(name);
    // In this order: of a response that is there now, the answer was there before.
    if (!(await this.#isStored(response))) throw deleted();
    return replayed(answer);
  }

  /** Takes the key, or finds who has it: somebody with the same body. */
  async #take(): Promise<{ readonly taking: Taking; readonly until: number }> {
    const { claims, vault } = this.#idempotency;
    const asked = computeFingerprint(this.#request.body);
    const fingerprint = await vault.seal(this.#fingerprintName, asked);
    const now = this.#now();
    const until = now + this.#idempotency.timings.claimMs;
    const claimant = { owner: this.#owner, until, fingerprint, expiresAt: this.#expiresAt };
    const taking = await claims.take(this.#key, claimant, now);
    if (taking.taken) return { taking, until };
    const first = await vault.open(this.#fingerprintName, taking.claim.fingerprint);
    if (!asked.equals(first)) throw reused();
    return { taking, until };
  }

  #hold(until: number): HeldKey {
    const { claims, timings, sleep = sleepFor } = this.#idempotency;
    const renew = (next: number) => claims.renew(this.#key, this.#owner, next);
    return holdKey(until, { renew, timings, now: () => this.#now(), sleep }, inUse);
  }

  async #first(route: Route, held: Held): Promise<HttpResponse> {
    try {
      const signal = AbortSignal.any([this.#request.signal, held.lost]);
      const answer = await route.run({ ...this.#request, signal });
      if ('frames' in answer) return { ...answer, frames: this.#recorded(answer, held) };
      const { stored, ...kept } = answer;
      await this.#finish(kept, stored, held);
      await held.letGo();
      return answer;
    } catch (error) {
      await this.#release(held);
      throw error;
    }
  }

  /** Another attempt runs. What it may have made by now can be shown all the same, where it can be found. */
  #beside(route: Route): Promise<HttpResponse> {
    if (this.#options.findsEarlier?.(this.#request.body)) return route.run(this.#request);
    throw inUse();
  }

  /** The frames as they come, gathered on the way; the last ones wait until they are kept. */
  async *#recorded(
    { frames, headers, stored }: Extract<HttpResponse, { frames: unknown }>,
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
          const fits = characters <= MAX_KEPT_CHARACTERS;
          if (whole) await this.#finish({ headers, frames: gathered }, stored, held, fits);
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
  async #finish(answer: Kept, stored: string | undefined, held: Held, fits = true): Promise<void> {
    const { claims } = this.#idempotency;
    held.lost.throwIfAborted();
    let isOurs = true;
    try {
      const outcome = this.#keeps && fits ? await this.#keep(answer, stored, held) : ({ kept: 'nowhere' } as const);
      isOurs = await claims.finish(this.#key, this.#owner, outcome);
    } catch (thrown) {
      this.#request.telemetry.logger.warn('idempotent answer not kept', describeError(thrown));
    }
    if (!isOurs) throw inUse();
  }

  async #keep(answer: Kept, response: string | undefined, { epoch }: Held): Promise<Outcome> {
    const { bodies } = this.#idempotency;
    const name = { ...this.#bodyName(epoch, response), expiresAt: this.#expiresAt };
    const { place } = await bodies.write(name, this.#reduced(answer));
    if (response === undefined) return { kept: place };
    if (await this.#isStored(response)) return { kept: place, response };
    // Whoever deleted it has removed what was there by then: this came later.
    await bodies.sweep(this.#key.tenant, response);
    return { kept: 'nowhere', response };
  }

  #reduced(answer: Kept): Kept {
    const { reference } = this.#options;
    return reference === undefined || 'frames' in answer ? answer : { json: reference.idsOf(answer.json) };
  }

  async #isStored(response: string): Promise<boolean> {
    return (await this.#idempotency.jobs.read(this.#key.tenant, response)) !== undefined;
  }

  /** A claim that can't be given back expires. */
  async #release(held: Held): Promise<void> {
    await held.letGo();
    try {
      await this.#idempotency.claims.release(this.#key, this.#owner);
    } catch (thrown) {
      this.#request.telemetry.logger.warn('idempotency key not released', describeError(thrown));
    }
  }

  #now(): number {
    return (this.#idempotency.now ?? Date.now)();
  }

  get #fingerprintName(): RecordName {
    return { tenant: this.#key.tenant, kind: 'idempotent-answer', id: this.#key.id, epoch: 0, field: 'fingerprint' };
  }

  /**
   * Each attempt's own, lest one that was taken over write over its successor's answer; and that of a stored response among
   * what belongs to the response, so that whoever deletes that deletes it too.
   */
  #bodyName(epoch: number, response: string | undefined): Omit<BodyName, 'expiresAt'> {
    const { tenant, id } = this.#key;
    return response === undefined
      ? { tenant, id, kind: 'output', epoch }
      : { tenant, id: response, kind: 'replay', epoch };
  }
}

/** A key that this attempt has, and its number. */
interface Held extends HeldKey {
  readonly epoch: number;
}

function sleepFor(ms: number, signal: AbortSignal): Promise<void> {
  return setTimeout(ms, undefined, { signal }).catch(() => {});
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

/** What a repeated answer shows isn't there: whoever made it has deleted it. */
function asDeleted(thrown: unknown): never {
  throw thrown instanceof LambentError && thrown.code === 'not_found' ? deleted() : thrown;
}

function deleted(): LambentError {
  const message = 'What was made with this idempotency key has been deleted. Use another key.';
  return new LambentError('idempotent_answer_not_kept', message);
}

function notKept(): LambentError {
  const message = 'A request with this idempotency key has been answered, and its answer was not to be stored.';
  return new LambentError('idempotent_answer_not_kept', message);
}
