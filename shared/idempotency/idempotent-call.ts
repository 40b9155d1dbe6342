import { createHash, randomUUID } from 'node:crypto';
import type { HttpRequest, Route } from '../access/route.ts';
import { LambentError } from '../core/errors.ts';
import { computeFingerprint } from '../core/fingerprint.ts';
import { newId } from '../core/ids.ts';
import { describeError } from '../core/logger.ts';
import type { BodyName } from '../jobs/ports.ts';
import type { HttpResponse } from '../lambda/http-responder.ts';
import type { RecordName } from '../vault/vault.ts';
import {
  keyInUseError,
  keyReusedError,
  mayHaveResult,
  resultDeletedError,
  resultNotStoredError,
} from './idempotency-errors.ts';
import type {
  Claim,
  ClaimedRecord,
  ClaimResult,
  IdempotencyRecord,
  OperationResult,
  RecordKey,
} from './idempotency-records.ts';
import type { Idempotency, IdempotentOptions } from './idempotent-options.ts';
import { type KeyLease, startKeyLease } from './key-lease.ts';
import { type RecordedResponse, replayReference, replayResponse } from './replay.ts';

const DAY_SECONDS = 86_400;
/** Keys are chosen by callers. A UUID has 36 characters. */
const MAX_KEY_LENGTH = 255;
/** A longer stream is not recorded, because it is gathered in memory. Its repetition is refused. */
const MAX_RECORDED_CHARACTERS = 16_000_000;

/** One call with an idempotency key. */
export class IdempotentCall {
  readonly #idempotency: Idempotency;
  readonly #options: IdempotentOptions;
  readonly #request: HttpRequest;
  readonly #key: RecordKey;
  readonly #owner = randomUUID();
  readonly #expiresAt: number;
  readonly #mayStore: boolean;

  /** @throws LambentError `invalid_value` for a key that is empty or too long */
  constructor(idempotency: Idempotency, options: IdempotentOptions, request: HttpRequest, key: string) {
    this.#idempotency = idempotency;
    this.#options = options;
    this.#request = request;
    this.#key = toRecordKey(options.name, key, request);
    this.#expiresAt = Math.floor(this.#now() / 1000) + DAY_SECONDS;
    this.#mayStore = options.mayStore?.(request) ?? true;
  }

  async run(route: Route): Promise<HttpResponse> {
    const { result, isRepeated } = await this.#claim();
    if (result.claimed) {
      return this.#perform(route, { record: result.record, isRepeated, lease: this.#startLease() });
    }
    const { record } = result;
    return record.result === undefined ? this.#showRunning(route, record) : this.#replay(record, record.result);
  }

  /** Claims the key, or returns the record of the call that has it, whose body is the same. */
  async #claim(): Promise<{ readonly result: ClaimResult; readonly isRepeated: boolean }> {
    const { records, vault, timings } = this.#idempotency;
    const asked = computeFingerprint(this.#request.body);
    const fingerprint = await vault.seal(this.#fingerprintName, asked);
    const createClaim = (operation: string): Claim => ({
      owner: this.#owner,
      until: this.#now() + timings.claimMs,
      fingerprint,
      expiresAt: this.#expiresAt,
      operation,
    });
    let result = await records.claim(this.#key, createClaim(newId()), this.#now());
    let isRepeated = false;
    while (!result.claimed) {
      const { record } = result;
      const isSame = asked.equals(await vault.open(this.#fingerprintName, record.fingerprint));
      const isFree = record.result === undefined && (record.until ?? 0) <= this.#now();
      if (!isFree && !isSame) throw keyReusedError();
      if (!isFree) break;
      // A free key may be used for another request, which is a new operation.
      const claim = createClaim(isSame ? this.#operationOf(record) : newId());
      result = await records.takeOver(this.#key, record, claim, this.#now());
      isRepeated = isSame;
    }
    return { result, isRepeated };
  }

  /** Returns a record's operation. Earlier versions derived the ids of background responses from the key and the body. */
  #operationOf({ operation }: IdempotencyRecord): string {
    if (operation !== undefined) return operation;
    const { headers, body } = this.#request;
    return computeFingerprint([this.#key.tenant, headers['idempotency-key'], body]).toString('hex').slice(0, 32);
  }

  #startLease(): KeyLease {
    const { records, timings, sleep } = this.#idempotency;
    const renew = (until: number) => records.renew(this.#key, this.#owner, until);
    return startKeyLease({ renew, timings, now: () => this.#now(), sleep }, keyInUseError);
  }

  /** Replays the response of an ended operation, if the object that it shows still exists. */
  async #replay(record: IdempotencyRecord, { kept, response }: OperationResult): Promise<HttpResponse> {
    if (kept === 'nowhere') throw response === undefined ? resultNotStoredError() : resultDeletedError();
    const name = this.#toBodyName(record, response);
    if (response === undefined) return this.#replayRecorded(await this.#idempotency.bodies.read(name, { place: kept }));
    const recorded = await this.#idempotency.bodies.find(name);
    // Read in this order: if the response exists now, its recorded HTTP response existed before.
    if (!(await this.#isStored(response))) throw resultDeletedError();
    return replayResponse(recorded);
  }

  async #replayRecorded(recorded: unknown): Promise<HttpResponse> {
    const { reference } = this.#options;
    if (reference === undefined) return replayResponse(recorded);
    try {
      return await replayReference(recorded, this.#request, reference);
    } catch (thrown) {
      throw thrown instanceof LambentError && thrown.code === 'not_found' ? resultDeletedError() : thrown;
    }
  }

  /** Lets the route show the result of a call that still runs, if it can. */
  #showRunning(route: Route, record: IdempotencyRecord): Promise<HttpResponse> {
    if (!this.#options.showsRunning?.(this.#request.body)) throw keyInUseError();
    const operation = { id: this.#operationOf(record), attempt: record.epoch + 1, isRepeated: true };
    return route.run({ ...this.#request, operation });
  }

  async #perform(route: Route, attempt: Attempt): Promise<HttpResponse> {
    try {
      const recorded = attempt.isRepeated && this.#mayStore ? await this.#findRecorded(attempt.record) : undefined;
      if (recorded !== undefined) {
        const replay = await this.#replayRecorded(recorded);
        await this.#release(attempt, true);
        return replay;
      }
      const signal = AbortSignal.any([this.#request.signal, attempt.lease.lost]);
      const { record, isRepeated } = attempt;
      const operation = { id: record.operation, attempt: record.epoch + 1, isRepeated };
      const answer = await route.run({ ...this.#request, signal, operation });
      if ('frames' in answer) return { ...answer, frames: this.#recordFrames(answer, attempt) };
      const { stored, ...response } = answer;
      const isFinished = await this.#finish(response, stored, attempt);
      await (isFinished ? attempt.lease.stop() : this.#release(attempt, true));
      return answer;
    } catch (error) {
      await this.#release(attempt, mayHaveResult(error));
      throw error;
    }
  }

  /** Finds the response that an earlier attempt recorded without being able to say so in the key's record. */
  async #findRecorded(record: IdempotencyRecord): Promise<unknown> {
    for (let epoch = record.epoch - 1; epoch >= 0; epoch -= 1) {
      const recorded = await this.#idempotency.bodies.find(this.#toBodyName({ ...record, epoch }, undefined));
      if (recorded !== undefined) return recorded;
    }
    return undefined;
  }

  /** Passes frames on and gathers them. The last frames wait until the result is recorded. */
  async *#recordFrames(
    { frames, headers, stored }: Extract<HttpResponse, { frames: unknown }>,
    attempt: Attempt,
  ): AsyncGenerator<string, unknown> {
    const gathered: string[] = [];
    let characters = 0;
    let last = '';
    let isFinished = false;
    let mayHaveStored = false;
    const iterator = frames[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await iterator.next();
        if (next.done) {
          if (next.value === true) {
            const fits = characters <= MAX_RECORDED_CHARACTERS;
            isFinished = await this.#finish({ headers, frames: gathered }, stored, attempt, fits);
            mayHaveStored = !isFinished;
          }
          if (last !== '') yield last;
          return next.value;
        }
        characters += next.value.length;
        if (characters <= MAX_RECORDED_CHARACTERS) gathered.push(next.value);
        last += next.value;
        if (this.#options.isFinalFrame?.(next.value)) continue;
        yield last;
        last = '';
      }
    } catch (error) {
      mayHaveStored = mayHaveResult(error);
      throw error;
    } finally {
      await (isFinished ? attempt.lease.stop() : this.#release(attempt, mayHaveStored));
      await iterator.return?.();
    }
  }

  /**
   * Records a response. If that fails, the response is still returned: it is complete and charged, and the caller
   * would only repeat the request.
   * @returns whether the response was recorded
   * @throws LambentError `idempotency_key_in_use` if another call has the key; its response will be the recorded one
   */
  async #finish(
    response: RecordedResponse,
    stored: string | undefined,
    attempt: Attempt,
    fits = true,
  ): Promise<boolean> {
    const { records } = this.#idempotency;
    attempt.lease.lost.throwIfAborted();
    let isOurs: boolean;
    try {
      const result =
        this.#mayStore && fits ? await this.#record(response, stored, attempt.record) : ({ kept: 'nowhere' } as const);
      isOurs = await records.finish(this.#key, this.#owner, result);
    } catch (thrown) {
      this.#request.telemetry.logger.warn('idempotent response not recorded', describeError(thrown));
      return false;
    }
    if (!isOurs) throw keyInUseError();
    return true;
  }

  async #record(
    response: RecordedResponse,
    stored: string | undefined,
    record: IdempotencyRecord,
  ): Promise<OperationResult> {
    const { bodies } = this.#idempotency;
    const name = { ...this.#toBodyName(record, stored), expiresAt: this.#expiresAt };
    const { place } = await bodies.write(name, this.#reduceToIds(response));
    if (stored === undefined) return { kept: place };
    if (await this.#isStored(stored)) return { kept: place, response: stored };
    // The stored response was deleted before this write, so its deletion didn't include it.
    await bodies.sweep(this.#key.tenant, stored);
    return { kept: 'nowhere', response: stored };
  }

  #reduceToIds(response: RecordedResponse): RecordedResponse {
    const { reference } = this.#options;
    return reference === undefined || 'frames' in response ? response : { json: reference.idsOf(response.json) };
  }

  async #isStored(response: string): Promise<boolean> {
    return (await this.#idempotency.jobs.read(this.#key.tenant, response)) !== undefined;
  }

  /**
   * Frees the key. Keeps the record if this attempt or an earlier one may have stored a result. A claim whose release fails
   * lapses.
   */
  async #release({ lease, isRepeated }: Attempt, mayHaveStored: boolean): Promise<void> {
    const { records } = this.#idempotency;
    await lease.stop();
    try {
      await (isRepeated || mayHaveStored
        ? records.abandon(this.#key, this.#owner)
        : records.remove(this.#key, this.#owner));
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
   * Returns the name of a recorded HTTP response. Each attempt has its own, so that one that was taken over doesn't overwrite
   * its successor's. One that shows a stored response belongs to that response, and is deleted with it.
   */
  #toBodyName({ epoch, operation }: IdempotencyRecord, stored: string | undefined): Omit<BodyName, 'expiresAt'> {
    const { tenant, id } = this.#key;
    if (stored !== undefined) return { tenant, id: stored, kind: 'replay', epoch };
    return { tenant, id: operation === undefined ? id : `idem#${operation}`, kind: 'output', epoch };
  }
}

/** An attempt of an operation: the call has the key until the lease is stopped. */
interface Attempt {
  readonly record: ClaimedRecord;
  readonly isRepeated: boolean;
  readonly lease: KeyLease;
}

/** Returns the key of a record. The caller's key is hashed, because it may contain content. */
function toRecordKey(name: string, key: string, { principal, pathParameters }: HttpRequest): RecordKey {
  if (key === '' || key.length > MAX_KEY_LENGTH) {
    throw new LambentError('invalid_value', `Invalid 'Idempotency-Key': expected 1 to ${MAX_KEY_LENGTH} characters.`);
  }
  const text = JSON.stringify([name, pathParameters, key]);
  return { tenant: principal.tenant, id: `idem#${createHash('sha256').update(text).digest('hex')}` };
}
