import { UNRESTRICTED } from '../../../shared/access/policy.ts';
import { createAnswerJob } from '../../../shared/api/job-answer.ts';
import type { Router } from '../../../shared/inference/router.ts';
import type { AnswerJob } from '../../../shared/jobs/answer-job.ts';

/** Creates a function that answers jobs with the events of `generate`, encoded as in production. */
export function answerWith(generate: Router['generate'], now: () => number): AnswerJob {
  return createAnswerJob({
    router: { generate },
    findCaller: async ({ tenant }) => ({ tenant, policy: UNRESTRICTED }),
    compactContext: async (_job, input) => ({ input }),
    fingerprint: () => 'fp',
    now,
  });
}
