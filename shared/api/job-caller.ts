import type { Policy } from '../access/policy.ts';
import { checkSections, joinPolicy, parsePolicy } from '../access/policy-json.ts';
import type { PolicyTable } from '../access/policy-table.ts';
import type { Caller } from '../access/principal.ts';
import { projectArchivedError } from '../access/project-archived-error.ts';
import type { Job } from '../jobs/job.ts';
import type { JobCaller, JobInput } from '../jobs/ports.ts';

/**
 * Returns what restricts all callers of a tenant now.
 * @throws LambentError `project_archived`; `overloaded` for a policy that only a newer version enforces; the table's errors
 */
export async function findPolicy(policies: PolicyTable, tenant: string): Promise<Policy> {
  const { archived, ...levels } = await policies.find(tenant);
  if (archived) throw projectArchivedError();
  return parsePolicy(joinPolicy(levels));
}

/** Returns what a job keeps of the caller whose request it was accepted from. */
export function toJobCaller({ keyId, policy: { key } }: Caller & { readonly keyId: string }): JobCaller {
  return { keyId, ...(key === undefined ? {} : { restrictions: key }) };
}

/**
 * Returns the function that finds for whom a job calls the model: with the tenant's policy of now, and with the key and its
 * restrictions from when the job was accepted. It throws as `findPolicy` does.
 */
export function createCallerFinder(
  policies: PolicyTable,
): (job: Pick<Job, 'tenant'>, input: Pick<JobInput, 'caller'>) => Promise<Caller> {
  return async ({ tenant }, { caller }) => {
    const policy = await findPolicy(policies, tenant);
    if (caller === undefined) return { tenant, policy };
    const { keyId, restrictions } = caller;
    if (restrictions === undefined) return { tenant, keyId, policy };
    checkSections(restrictions);
    return { tenant, keyId, policy: { ...policy, key: restrictions } };
  };
}
