import { promptOf } from './upstream.ts';

/** What jobs ask, and how an answer is known for theirs. */
export interface Questions {
  /** Body of a `POST /v1/responses`. */
  body(job: number): Readonly<Record<string, unknown>>;
  /** Whether a text is a whole answer to a job's question. */
  answers(job: number, text: string): boolean;
}

/** Questions to the scripted upstream. */
export const HOSTED_QUESTIONS: Questions = {
  body: (job) => ({ model: 'default', input: promptOf(job) }),
  answers: (job, text) => new RegExp(`^job ${job}, call \\d+$`).test(text),
};
