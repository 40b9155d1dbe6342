import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Template } from '../../infra/template.ts';
import type { Policy } from '../../shared/access/policy.ts';
import { listCaps } from '../../shared/limits/caps.ts';
import { createDynamoDBCounters } from '../../shared/limits/dynamodb-counters.ts';
import { JobLedger } from '../../shared/limits/job-ledger.ts';
import type { JobState } from '../../shared/limits/ledger-cleaning.ts';
import { Limiter } from '../../shared/limits/limiter.ts';
import { listQueueCaps } from '../../shared/limits/queue-caps.ts';
import { countMessage } from '../../shared/limits/sender-messages.ts';
import { sweepLimits } from '../../shared/limits/sweep-limits.ts';
import { hasWaited, noteWait } from '../../shared/limits/waiting-messages.ts';
import { startLimitsTable } from '../shared/limits/limits-table.ts';
import { isAllowed, listLeadingKeys, matches, observe } from './allowed-requests.ts';
import type { DynamoDBRequest } from './dynamodb-request.ts';
import { packageStage } from './packaged.ts';

const MINUTE_MS = 60_000;
const SCAN = 'dynamodb:Scan';

let template: Template;
let table: Awaited<ReturnType<typeof startLimitsTable>>;
/** The requests of each use of the table. */
let used: Readonly<Record<'calls' | 'jobs' | 'messages' | 'sweep', readonly DynamoDBRequest[]>>;

beforeAll(async () => {
  [template, table] = await Promise.all([packageStage(), startLimitsTable()]);
  used = await useLimits();
});
afterAll(() => table.close());

/** Uses the table in every way in which functions do. */
async function useLimits() {
  const requests: DynamoDBRequest[] = [];
  observe(table.client, requests);
  const store = createDynamoDBCounters(table.client, table.name);
  let now = Date.UTC(2026, 10, 30, 12);
  let state: JobState = 'open';
  let pages = 0;
  const ports = { store, now: () => now, readState: async () => state };

  const record = async (run: () => Promise<void>): Promise<readonly DynamoDBRequest[]> => {
    requests.length = 0;
    await run();
    return [...requests];
  };
  const calls = await record(async () => {
    const limits = { requestsPerDay: 9, requestsInFlight: 9 };
    const policy: Policy = {
      account: { limits },
      project: { limits: { ...limits, models: { m: limits } } },
      key: { limits },
    };
    const amounts = { requests: 1n, inputTokens: 1n, outputTokens: 1n, spend: 1n };
    const call = { holder: { tenant: 'acme', keyId: 'one' }, kind: 'answers', amounts, model: 'm' } as const;
    await new Limiter(store, ports.now).reserve({ ...call, caps: listCaps(policy, 'm', 'answers') });
  });
  const jobs = await record(async () => {
    const ledger = new JobLedger({ ...ports, newId: () => `page${pages++}` });
    const limits = { jobsQueued: 1_000 };
    const caps = listQueueCaps({ account: { limits }, project: { limits }, key: { limits } });
    // So many that some are moved to a page.
    for (let index = 0; index < 64; index += 1) {
      const job = { tenant: 'acme', keyId: 'one', id: `resp_${index}`, amounts: { jobs: 1n, bytes: 0n, weight: 0n } };
      expect(await ledger.enter(job, caps, () => {})).toBeUndefined();
    }
    expect(pages).toBe(1);
  });
  const messages = await record(async () => {
    await countMessage(store, 'sender#AROA1', { messagesPerDay: 9 }, now);
    await noteWait(store, { messageId: 'm1', received: 2 }, MINUTE_MS, now);
    expect(await hasWaited(store, { messageId: 'm1', received: 3 })).toBe(true);
  });
  const sweep = await record(async () => {
    now += 30 * MINUTE_MS;
    state = 'ended';
    // The first settles, and removes what has ended. The second takes back what is free since then.
    for (let run = 0; run < 2; run += 1)
      await sweepLimits({ ...ports, logger: { summarize: () => {} }, onError: () => {} }, Number.POSITIVE_INFINITY);
  });
  return { calls, jobs, messages, sweep };
}

/** How each function uses the table. */
const USES: Readonly<Record<string, readonly (keyof typeof used)[]>> = {
  ChatRole: ['calls', 'jobs'],
  EmbeddingsRole: ['calls'],
  ResponsesRole: ['calls'],
  IntakeRole: ['jobs', 'messages'],
  GenerateRole: ['calls'],
  DispatchRole: ['calls'],
  // It changes the same items as functions that count jobs.
  SweepRole: ['jobs', 'sweep'],
};

it.each(Object.entries(USES))('%s may use the table of limits for %j, and for nothing else', (role, uses) => {
  for (const [use, requests] of Object.entries(used)) {
    const areAllowed = requests.every((request) => isAllowed(template, role, 'LimitsTable', request));
    expect(requests.length).toBeGreaterThan(0);
    expect(areAllowed, use).toBe((uses as readonly string[]).includes(use));
  }
});

it.each(Object.entries(USES))(
  '%s may access no keys of the table of limits that its code does not use',
  (role, uses) => {
    const keys = uses.flatMap((use) =>
      used[use].filter(({ action }) => action !== SCAN).flatMap(({ context }) => context['dynamodb:LeadingKeys']),
    );
    const patterns = listLeadingKeys(template, role, 'LimitsTable', 'dynamodb:UpdateItem');
    expect(patterns.length).toBeGreaterThan(0);
    const all = [...patterns, ...listLeadingKeys(template, role, 'LimitsTable', 'dynamodb:GetItem')];
    // What is stored is counted by code that this test doesn't run.
    for (const pattern of all.filter((each) => !/^(account#)?stored/.test(each)))
      expect(
        keys.some((key) => matches(pattern, key)),
        pattern,
      ).toBe(true);
  },
);
