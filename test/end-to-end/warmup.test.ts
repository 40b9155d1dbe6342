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
  await waitUntil('three environments of chat', async () => {
    await warm();
    return countProcesses('chat') === 3;
  });
}

const countProcesses = (name: string) =>
  service.cloud.processes().filter((process) => process.function === name).length;

/** Returns the values of a target's metric that the warm-up has published, in order. */
function listPublished(metric: string, target: string): unknown[] {
  return service.logs
    .filter((line) => line.includes('"_aws"'))
    .map((line): Record<string, unknown> => JSON.parse(line))
    .filter((entry) => entry['Target'] === target && metric in entry)
    .map((entry) => entry[metric]);
}

// Skipped in managed mode, where one process serves all warm-up calls, so no number of environments can be expected.
describe.skipIf(IS_MANAGED)('the warm-up', () => {
  it('the warm-up starts environments, finds them warm the next time, and publishes both results', async () => {
    await warmAll();
    await warm();
    expect([countProcesses('chat'), countProcesses('authorize')]).toEqual([3, 1]);
    const rates = listPublished('ColdStartRate', 'lambent-local-chat');
    expect([rates[0], rates.at(-1)]).toEqual([expect.toSatisfy((rate) => rate > 0), 0]);
    expect(listPublished('ColdStartMs', 'lambent-local-chat')).toHaveLength(rates.filter((rate) => rate !== 0).length);
    expect(listPublished('WarmFailures', 'lambent-local-authorize')).toSatisfy((failures: unknown[]) =>
      failures.every((each) => each === 0),
    );
  });

  it('the warm-up starts environments that then serve requests', async () => {
    await warmAll();
    expect((await service.client.models.list()).data.length).toBe(3);
    expect(countProcesses('chat')).toBe(3);
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
