import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { IS_MANAGED } from '../lambda-mode.ts';
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

/** Returns the values that the warm-up has published of a target's metric, in order. */
function published(metric: string, target: string): unknown[] {
  return service.logs
    .filter((line) => line.includes('"_aws"'))
    .map((line): Record<string, unknown> => JSON.parse(line))
    .filter((entry) => entry['Target'] === target && metric in entry)
    .map((entry) => entry[metric]);
}

// One process of a managed function serves all warm-up calls, so there is no number of environments to warm.
describe.skipIf(IS_MANAGED)('the warm-up', () => {
  it('starts the configured number of environments, finds them warm the next time, and publishes both', async () => {
    await warm();
    expect([countOf('chat'), countOf('authorize')]).toEqual([3, 1]);
    await warm();
    expect([countOf('chat'), countOf('authorize')]).toEqual([3, 1]);
    expect(published('ColdStartRate', 'lambent-local-chat')).toEqual([100, 0]);
    expect(published('ColdStartMs', 'lambent-local-chat')).toEqual([expect.any(Number)]);
    expect(published('WarmFailures', 'lambent-local-authorize')).toEqual([0, 0]);
  });

  it('leaves environments that serve requests', async () => {
    await warm();
    expect((await service.client.models.list()).data.length).toBe(3);
    expect(countOf('chat')).toBe(3);
  });

  it('cannot be triggered by an HTTP request whose body is a warm event', async () => {
    const answer = await fetch(`${service.cloud.url}/chat/completions`, {
      method: 'POST',
      headers: { authorization: 'Bearer sk-local', 'content-type': 'application/json' },
      body: JSON.stringify({ lambent: 'warm', holdMs: 5_000 }),
    });
    expect(answer.status).toBe(400);
  });
});
