import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { driveService } from './drive.ts';
import { type ObservedService, startObservedService } from './observed-service.ts';
import { type Grant, isAllowed, listGrants } from './policies.ts';
import { covers, UNCALLED_GRANTS } from './uncalled-grants.ts';

let service: ObservedService;
let grants: Grant[];
beforeAll(async () => {
  service = await startObservedService();
  grants = listGrants(service.template, service.resolve);
  await driveService(service);
}, 600_000);
afterAll(() => service?.[Symbol.asyncDispose]());

const toRole = (name = '') => `${name.charAt(0).toUpperCase()}${name.slice(1)}Role`;

describe('the roles of the functions', () => {
  it('each call belongs to the invocation of a function', () => {
    expect(service.calls.filter((call) => call.function === undefined)).toEqual([]);
  });

  it('each call of a function is allowed by its role', () => {
    const denied = service.calls.filter(
      (call) => !grants.some((grant) => grant.role === toRole(call.function) && isAllowed(grant, call)),
    );
    expect(new Set(denied.map((call) => `${call.function} ${call.action} ${call.resource}`))).toEqual(new Set());
  });

  it('each grant of a role is used by its function, or has a reason why it is not', () => {
    const unused = grants
      .filter((grant) => !service.calls.some((call) => grant.role === toRole(call.function) && isAllowed(grant, call)))
      .filter((grant) => !UNCALLED_GRANTS.some((entry) => covers(entry, grant)));
    expect(unused.map(({ role, sid, action, resource }) => `${role}/${sid} ${action} ${resource}`)).toEqual([]);
  });

  it('each reason for an unused grant applies to a grant', () => {
    const unneeded = UNCALLED_GRANTS.filter((entry) => !grants.some((grant) => covers(entry, grant)));
    expect(unneeded.map(({ reason }) => reason)).toEqual([]);
  });
});
