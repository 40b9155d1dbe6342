import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Service, startService } from './service.ts';

let service: Service;
beforeEach(async () => {
  service = await startService({
    environment: {
      // On a busy machine the last of three processes is ready seconds after the first.
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

const countOf = (name: string) => service.cloud.processes().filter((process) => process.function === name).length;

/** What warmup has published of a metric, in order, by target. */
function published(metric: string, target: string): unknown[] {
  return service.logs
    .filter((line) => line.includes('"_aws"'))
    .map((line): Record<string, unknown> => JSON.parse(line))
    .filter((entry) => entry['Target'] === target && metric in entry)
    .map((entry) => entry[metric]);
}

describe('the warm-up', () => {
  test('starts as many environments as it is told, finds them warm the next time, and publishes both', async () => {
    await warm();
    expect([countOf('chat'), countOf('authorize')]).toEqual([3, 1]);
    await warm();
    expect([countOf('chat'), countOf('authorize')]).toEqual([3, 1]);
    expect(published('ColdStartRate', 'lambent-local-chat')).toEqual([100, 0]);
    expect(published('ColdStartMs', 'lambent-local-chat')).toEqual([expect.any(Number)]);
    expect(published('WarmFailures', 'lambent-local-authorize')).toEqual([0, 0]);
  });

  test('leaves environments that serve real requests as fast as they were, and costs them nothing', async () => {
    await warm();
    expect((await service.client.models.list()).data.length).toBe(3);
    expect(countOf('chat')).toBe(3);
  });

  test('cannot be faked by a caller: its event in a body is a body', async () => {
    const answer = await fetch(`${service.cloud.url}/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json' },
      body: JSON.stringify({ lambent: 'warm', holdMs: 5_000 }),
    });
    expect(answer.status).toBe(400);
  });
});
