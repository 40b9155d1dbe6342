import type { Policy } from '../access/policy.ts';
import { checkSections, joinPolicy, parsePolicy } from '../access/policy-json.ts';
import type { PolicyTable, TenantPolicy } from '../access/policy-table.ts';
import type { Caller } from '../access/principal.ts';
import { projectArchivedError } from '../access/project-archived-error.ts';
import type { Job } from '../jobs/job.ts';
import type { JobCaller, JobInput } from '../jobs/ports.ts';

/**
 * Returns what restricts all callers of a tenant.
 * @param found what the table has of the tenant
 * @throws LambentError `project_archived`; `overloaded` for a policy that only a newer version enforces
 */
export function parseTenantPolicy({ archived, ...levels }: TenantPolicy): Policy {
  if (archived) throw projectArchivedError();
  return parsePolicy(joinPolicy(levels));
}

/** Returns what a job keeps of the caller whose request it was accepted from. */
export function toJobCaller({ keyId, policy: { key } }: Caller & { readonly keyId: string }): JobCaller {
  return { keyId, ...(key === undefined ? {} : { restrictions: key }) };
}

/**
 * Returns the function that finds for whom a job calls the model: with the tenant's policy of now, and with the key and its
 * restrictions from when the job was accepted. It throws as `parseTenantPolicy` does, and the table's errors.
 */
export function createCallerFinder(
  policies: PolicyTable,
): (job: Pick<Job, 'tenant'>, input: Pick<JobInput, 'caller'>) => Promise<Caller> {
  return async ({ tenant }, { caller }) => {
    const policy = parseTenantPolicy(await policies.find(tenant));
    if (caller === undefined) return { tenant, policy };
    const { keyId, restrictions } = caller;
    if (restrictions === undefined) return { tenant, keyId, policy };
    checkSections(restrictions);
    return { tenant, keyId, policy: { ...policy, key: restrictions } };
  };
}
