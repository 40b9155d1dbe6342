import { chooseKind, isLarge, type JobKind } from './kinds.ts';

/** The requests of jobs, and how to recognise their answers. */
export interface Questions {
  kind(job: number): JobKind;
  /** Returns a job's body for `POST /v1/responses`. */
  body(job: number): Readonly<Record<string, unknown>>;
  /** True if `text` is a complete answer to the job's question. */
  isAnswer(job: number, text: string): boolean;
}

/** More than the service stores in the item of a body. */
const LARGE_CHARACTERS = 10_000;

/**
 * Creates the questions for the scripted upstream.
 * @param crashes whether jobs may be `crashing`
 */
export function createHostedQuestions(crashes: boolean): Questions {
  return {
    kind: (job) => chooseKind(job, crashes),
    body: (job) => ({ model: 'default', input: createPrompt(job) }),
    isAnswer: (job, text) => new RegExp(`^job ${job}, (?:more )*call \\d+$`).test(text),
  };
}

/** Returns the prompt of a job, which names the job for the upstream. */
function createPrompt(job: number): string {
  return `job ${job}.${isLarge(job) ? ` ${'x'.repeat(LARGE_CHARACTERS)}` : ''}`;
}

/** Returns the job that the last prompt of a text names: the others are those of earlier turns. */
export function findJob(text: string): number | undefined {
  const last = [...text.matchAll(/job (\d+)\./g)].at(-1);
  return last === undefined ? undefined : Number(last[1]);
}
