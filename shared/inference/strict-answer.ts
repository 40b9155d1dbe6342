import { LambentError } from '../core/errors.ts';
import type { UnenforcedSchemas } from './adapt-request.ts';
import { addUsage } from './add-usage.ts';
import type { GenerationEvent } from './generation.ts';
import { StrictCheck } from './strict-check.ts';

type Finish = Extract<GenerationEvent, { type: 'finish' }>;

/** One try to get an answer whose schemas the target may not enforce. */
export interface Try {
  readonly events: AsyncIterable<GenerationEvent>;
  /** Undefined if the target of this try enforces all schemas. */
  readonly unenforced: UnenforcedSchemas | undefined;
}

/** A complete answer that matches its schemas. */
export interface CheckedAnswer<T extends Try> {
  readonly events: readonly GenerationEvent[];
  /** The try that it is from. */
  readonly from: T;
  readonly isRepeated: boolean;
}

/**
 * Reads an answer to its end and checks it. If it doesn't match, the call is repeated once; the usage is then that of
 * both calls.
 * @throws LambentError `output_mismatch` if the second answer doesn't match either, and every error of the tries
 */
export async function answerStrictly<T extends Try>(first: T, repeat: () => Promise<T>): Promise<CheckedAnswer<T>> {
  const answer = await readAnswer(first);
  if (answer.violation === undefined) return { events: answer.events, from: first, isRepeated: false };
  const second = await repeat();
  const repeated = await readAnswer(second);
  if (repeated.violation !== undefined) throw mismatchError(repeated.violation);
  const usage = addUsage(answer.finish?.usage, repeated.finish?.usage);
  const events = repeated.events.map((event) => (event.type === 'finish' ? { ...event, usage } : event));
  return { events, from: second, isRepeated: true };
}

/**
 * Passes the events of a stream on and checks the answer before its end.
 * @throws LambentError `output_mismatch` instead of the `finish` of an answer that doesn't match
 */
export async function* checkStream({ events, unenforced }: Try): AsyncGenerator<GenerationEvent> {
  const check = unenforced && new StrictCheck(unenforced);
  for await (const event of events) {
    check?.add(event);
    const violation = event.type === 'finish' ? check?.findViolation(event.reason) : undefined;
    if (violation !== undefined) throw mismatchError(violation);
    yield event;
  }
}

async function readAnswer({ events, unenforced }: Try) {
  const check = unenforced && new StrictCheck(unenforced);
  const all: GenerationEvent[] = [];
  let finish: Finish | undefined;
  for await (const event of events) {
    check?.add(event);
    if (event.type === 'finish') finish = event;
    all.push(event);
  }
  return { events: all, finish, violation: finish && check?.findViolation(finish.reason) };
}

function mismatchError(violation: string): LambentError {
  return new LambentError('output_mismatch', violation);
}
