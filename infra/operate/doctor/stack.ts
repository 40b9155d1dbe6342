import { createError } from '../preflight/finding.ts';
import type { DoctorCheck } from './check.ts';

/** Checks that the last deployment of the stack succeeded. */
export const stackCheck: DoctorCheck = {
  name: 'stack',
  async find({ status, stackName, region, resources }) {
    const events = `aws cloudformation describe-stack-events --region ${region} --stack-name ${stackName}`;
    const findings = [];
    if (/_IN_PROGRESS$/.test(status))
      findings.push(
        createError(`A deployment is in progress (${status}).`, 'Wait until it ends, then run this again.'),
      );
    else if (!/^(CREATE|UPDATE|IMPORT)_COMPLETE$/.test(status))
      findings.push(
        createError(`The last deployment failed (${status}).`, `The earliest failure shows why: ${events}`),
      );
    else
      for (const { id, status: state } of resources.filter((resource) => !/_COMPLETE$/.test(resource.status)))
        findings.push(createError(`The resource ${id} is ${state}.`, events));
    return findings;
  },
};

/** Checks that the API answers, by a request without a key, which it must refuse. */
export const endpointCheck: DoctorCheck = {
  name: 'endpoint',
  async find({ outputs }) {
    const url = outputs['BaseUrl'];
    if (url === undefined)
      return [createError('The stack has no output BaseUrl.', 'Package the current version and deploy it.')];
    try {
      const { status } = await fetch(`${url}/models`, { signal: AbortSignal.timeout(30_000) });
      if (status === 401) return [];
      const problem = `${url}/models answered ${status} to a request without a key, not 401.`;
      return [createError(problem, 'See docs/alarms.md#gateway-5xx, or deploy again if routes are missing.')];
    } catch (thrown) {
      const reason =
        thrown instanceof Error ? ((thrown.cause as Error | undefined)?.message ?? thrown.message) : thrown;
      return [
        createError(
          `${url} does not answer: ${reason}`,
          'Check the network of this machine and the API in API Gateway.',
        ),
      ];
    }
  },
};
