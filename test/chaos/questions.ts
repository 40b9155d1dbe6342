import { createPrompt } from './upstream.ts';

/** The requests of jobs, and how to recognise their answers. */
export interface Questions {
  /** Returns a job's body for `POST /v1/responses`. */
  body(job: number): Readonly<Record<string, unknown>>;
  /** True if `text` is a complete answer to the job's question. */
  isAnswer(job: number, text: string): boolean;
}

/** Questions for the scripted upstream. */
export const HOSTED_QUESTIONS: Questions = {
  body: (job) => ({ model: 'default', input: createPrompt(job) }),
  isAnswer: (job, text) => new RegExp(`^job ${job}, call \\d+$`).test(text),
};
