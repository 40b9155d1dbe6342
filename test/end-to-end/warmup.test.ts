import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { IS_MANAGED } from '../lambda-mode.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

let service: Service;
beforeEach(async () => {
  service = await startService({
    environment: {
      // On a busy machine, the last of three processes may be ready seconds after the first.
      WARM_HOLD_MS: '3000',
      WARM_TARGETS: JSON.stringify([
        { functionName: 'lambent-local-chat', concurrency: 3 },
        { functionName: 'lambent-local-authorize', concurrency: 1 },
      ]),
    },
  });
});
afterEach(() => service[Symbol.asyncDispose]());

async function warm(): Promise<void> {
  const { body } = await service.cloud.invoke('lambent-local-warmup', Buffer.from('{}'));
  for await (const _ of body);
}

/** Warms up until all configured environments exist. */
async function warmAll(): Promise<void> {
  // More if one was slow to ask for its next invocation.
  await waitUntil('three environments of chat', async () => {
    await warm();
    return countProcesses('chat') >= 3;
  });
}

const countProcesses = (name: string) =>
  service.cloud.processes().filter((process) => process.function === name).length;

/** Returns the warm-up's reports on a target, in order. */
function listReports(target: string): Record<string, unknown>[] {
  return service.logs
    .filter((line) => line.includes('"warmed"'))
    .map((line): Record<string, unknown> => JSON.parse(line))
    .filter((report) => report['target'] === target);
}

// Skipped in managed mode, where one process serves all warm-up calls, so no number of environments can be expected.
describe.skipIf(IS_MANAGED)('the warm-up', () => {
  it('the warm-up starts environments, finds them warm the next time, and logs both results', async () => {
    await warmAll();
    // On a busy machine, the last process may still be starting when the others have answered all calls.
    await waitUntil('a report without cold starts', async () => {
      await warm();
      return listReports('lambent-local-chat').at(-1)?.['cold'] === 0;
    });
    expect(countProcesses('authorize')).toBeGreaterThanOrEqual(1);
    const isPositive = expect.toSatisfy((value) => value > 0);
    const reports = listReports('lambent-local-chat');
    expect(reports[0]).toMatchObject({ failed: 0, cold: isPositive, initMs: isPositive });
    expect(reports.at(-1)).toMatchObject({ answered: 3, failed: 0, cold: 0, initMs: 0 });
    expect(listReports('lambent-local-authorize').every(({ failed }) => failed === 0)).toBe(true);
  });

  it('the warm-up starts environments that then serve requests', async () => {
    await warmAll();
    const warmed = countProcesses('chat');
    expect((await service.client.models.list()).data.length).toBeGreaterThan(0);
    expect(countProcesses('chat')).toBe(warmed);
  });

  it('the warm-up cannot be triggered by an HTTP request whose body is a warm-up event', async () => {
    const answer = await fetch(`${service.cloud.url}/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json' },
      body: JSON.stringify({ lambent: 'warm', holdMs: 5_000 }),
    });
    expect(answer.status).toBe(400);
  });
});
