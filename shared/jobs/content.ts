import { isObject } from '../core/objects.ts';
import type { JobAnswer } from './answer-job.ts';
import type { JobInput, JobOutput } from './ports.ts';

// This service wrote the content of a record, and the vault opened it: these functions distinguish types, and validate nothing.

/** Whether an opened record is what a job was asked. */
export function isJobInput(body: unknown): body is JobInput {
  return isObject(body) && isObject(body['generation']) && 'body' in body;
}

/** Whether an opened record is what a job answered. */
export function isJobOutput(body: unknown): body is JobOutput {
  return isObject(body) && isObject(body['answer']);
}

/** Whether an opened record is a complete answer that was not committed. */
export function isJobAnswer(body: unknown): body is JobAnswer {
  return (
    isObject(body) && (body['status'] === 'completed' || body['status'] === 'incomplete') && isJobOutput(body['output'])
  );
}
