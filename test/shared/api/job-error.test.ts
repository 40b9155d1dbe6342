import { expect, it } from 'vitest';
import { jobError } from '../../../shared/api/job-error.ts';
import { encodeErrorBody } from '../../../shared/openai/errors.ts';

const describe = (job: Parameters<typeof jobError>[0]) => encodeErrorBody(jobError(job)).error;

it.each([
  ['key.dollarsPerMonth', 'insufficient_quota', 'insufficient_quota', "dollarsPerMonth of the caller's key"],
  ['project.tokensPerMinute', 'rate_limit_exceeded', 'tokens', 'tokensPerMinute of the project'],
  ['account.requestsInFlight', 'rate_limit_exceeded', 'rate_limit_error', 'requestsInFlight of this deployment'],
] as const)('the error of a job that %s refuses names the limit', (errorLimit, code, type, name) => {
  const message = `The request is larger than ${name} allows.`;
  const expected = { message, type, param: null, code };
  expect(describe({ status: 'failed', errorCode: code, errorLimit })).toEqual(expected);
  expect(describe({ status: 'failed', errorCode: code, errorLimit, tries: 1 })).toEqual(expected);
});

it('the error of a job whose deadline has passed names the limit for which the job waited', () => {
  const expired = { status: 'expired', errorCode: 'deadline_exceeded' } as const;
  expect(describe({ ...expired, errorLimit: 'key.requestsPerDay' })).toMatchObject({
    message: "The deadline has passed while the request waited for requestsPerDay of the caller's key.",
    code: 'deadline_exceeded',
  });
  expect(describe(expired).message).not.toContain('waited');
});

it('the error of a job that a policy refuses says why', () => {
  const errorRefusal = "The policy of this project refuses 'input': it contains personal data (email).";
  expect(describe({ status: 'failed', errorCode: 'content_filter', errorRefusal })).toEqual({
    ...{ message: errorRefusal, type: 'invalid_request_error', param: null, code: 'content_filter' },
  });
  // One of an earlier version, or of a model's provider, whose message may quote the request.
  expect(describe({ status: 'failed', errorCode: 'content_filter' }).message).toBe(
    'The request failed (content_filter).',
  );
});

it.each([{}, { errorLimit: 'team.wordsPerDay' }, { errorLimit: 'key' }])(
  'the error of a job that another version refused can be read: %j',
  (limit) => {
    const { code, type } = describe({ status: 'failed', errorCode: 'insufficient_quota', ...limit });
    expect({ code, type }).toEqual({ code: 'insufficient_quota', type: 'insufficient_quota' });
  },
);
