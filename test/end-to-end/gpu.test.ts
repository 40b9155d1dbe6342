import { setTimeout as sleep } from 'node:timers/promises';
import type OpenAI from 'openai';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Job } from '../../shared/jobs/job.ts';
import { IS_MANAGED } from '../lambda-mode.ts';
import type { GpuWorker } from '../upstreams/gpu-worker.ts';
import { type GpuService, HEARTBEAT_MS, LEASE_MS, startGpuService } from './gpu-service.ts';

let service: GpuService;
let client: OpenAI;
let w1: GpuWorker;
let w2: GpuWorker;
beforeAll(async () => {
  service = await startGpuService();
  client = service.client;
  [w1, w2] = service.workers as [GpuWorker, GpuWorker];
}, 120_000);
afterAll(() => service[Symbol.asyncDispose]());
beforeEach(async () => {
  for (const worker of service.workers) worker.behave({});
  await service.register(4);
});

const chat = { model: 'gpu', messages: [{ role: 'user' as const, content: 'Hello' }] };
const leases = async () => (await service.fleet()).flatMap((worker) => Object.keys(worker.leases));
const generated = () => w1.countTokensSince(0) + w2.countTokensSince(0);
const refusal = (of: Promise<unknown>) => of.catch((error: unknown) => error);

async function background(input = 'Hello'): Promise<string> {
  return (await client.responses.create({ model: 'gpu', input, background: true })).id;
}

/** Waits until a job has ended. */
function ended(id: string): Promise<Job> {
  return vi.waitUntil(
    async () => {
      const job = await service.job(id);
      return job !== undefined && !['queued', 'in_progress'].includes(job.status) && job;
    },
    { timeout: 60_000, interval: 100 },
  );
}

describe('chat', () => {
  test('is answered by a worker, streamed and whole, and leaves no lease', async () => {
    const { choices } = await client.chat.completions.create(chat);
    expect(choices[0]?.message.content).toBe('t0 t1 t2 ');
    let text = '';
    for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? '';
    }
    expect(text).toBe('t0 t1 t2 ');
    // A client has read all there is before the function has ended.
    await vi.waitFor(async () => expect(await leases()).toEqual([]));
  });

  test('is told when to come back when there is no room', async () => {
    await service.register(4, 0);
    const error = await refusal(client.chat.completions.create(chat));
    expect(error).toMatchObject({ status: 503, code: 'overloaded' });
    expect(Number(Object(error).headers.get('retry-after'))).toBeGreaterThan(0);
    await service.register(4);
    expect((await client.chat.completions.create(chat)).choices[0]?.message.content).toBe('t0 t1 t2 ');
  });

  test('is answered by a hosted model where it may fall back to one', async () => {
    await service.register(4, 0);
    const { choices } = await client.chat.completions.create({ ...chat, model: 'helped' });
    expect(choices[0]?.message.content).toBe('You said: Hello');
  });

  test('that is killed stops its worker at once, and gives its slot back when its lease has run out', async () => {
    await service.register(1, 1);
    w1.behave({ tokens: 100_000, tokenMs: 20 });
    const broken = refusal(
      (async () => {
        for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
          if (chunk.choices[0]?.delta.content === 't3 ') {
            for (const { pid } of service.busy('chat')) process.kill(pid, 'SIGKILL');
          }
        }
      })(),
    );
    expect(await broken).toBeInstanceOf(Error);
    const killedAt = performance.now();
    w1.behave({});
    expect(await leases()).toHaveLength(1);
    expect(await refusal(client.chat.completions.create(chat))).toMatchObject({ status: 503 });
    await vi.waitFor(() => client.chat.completions.create(chat), { timeout: 2 * LEASE_MS, interval: 100 });
    expect(performance.now() - killedAt).toBeLessThan(LEASE_MS + 3_000);
    expect(w1.served[0]?.tokensAt.at(-1)).toBeLessThan(killedAt + 100);
  }, 40_000);
});

describe('work in the background', () => {
  test('goes over the GPU queue, whose function asks a worker as batch work', async () => {
    const before = w1.served.length + w2.served.length;
    const id = await background();
    expect(await ended(id)).toMatchObject({ status: 'completed', lane: 'gpu', epoch: 1 });
    expect(await client.responses.retrieve(id)).toMatchObject({ status: 'completed', output_text: 't0 t1 t2 ' });
    const served = [...w1.served, ...w2.served];
    expect(served.length).toBe(before + 1);
    expect(served.map(({ body }) => body['priority'])).toContain(1);
    expect(await leases()).toEqual([]);
  }, 60_000);

  test('that is cancelled closes its connection to the engine within a heartbeat', async () => {
    for (const worker of [w1, w2]) worker.behave({ tokens: 100_000, tokenMs: 20 });
    const before = generated();
    const id = await background();
    await vi.waitUntil(() => generated() > before + 3, { timeout: 20_000 });
    await client.responses.cancel(id);
    const cancelledAt = performance.now();
    expect(await ended(id)).toMatchObject({ status: 'cancelled' });
    await sleep(200);
    const within = cancelledAt + HEARTBEAT_MS + 1_000;
    expect(w1.countTokensSince(within) + w2.countTokensSince(within)).toBe(0);
    expect(await leases()).toEqual([]);
  }, 60_000);

  test('waits while there is no worker, and is done when there is one', async () => {
    await service.register(4, 0);
    const id = await background();
    await vi.waitUntil(async () => ((await service.job(id))?.releases ?? 0) > 0, { timeout: 20_000 });
    await service.register(4);
    expect(await ended(id)).toMatchObject({ status: 'completed', attempts: 1 });
  }, 60_000);

  test('goes on in the same invocation when its worker is killed', async () => {
    for (const worker of [w1, w2]) worker.behave({ tokens: 100, tokenMs: 20 });
    const before = [w1.countTokensSince(0), w2.countTokensSince(0)];
    const id = await background();
    await vi.waitUntil(() => generated() > Number(before[0]) + Number(before[1]) + 3, { timeout: 20_000 });
    const [running] = service.busy('dispatch');
    const victim = w1.countTokensSince(0) > Number(before[0]) ? w1 : w2;
    await victim.kill();
    expect(await ended(id)).toMatchObject({ status: 'completed', epoch: 2 });
    expect(service.cloud.processes().map(({ pid }) => pid)).toContain(running?.pid);
    await victim.restart();
  }, 60_000);

  test('is committed once when a dispatcher comes back to life after its lease', async () => {
    for (const worker of [w1, w2]) worker.behave({ tokens: 200, tokenMs: 20 });
    const before = generated();
    const id = await background();
    await vi.waitUntil(() => generated() > before + 3, { timeout: 20_000 });
    const [frozen] = service.busy('dispatch');
    if (frozen === undefined) throw new Error('No dispatcher is at work');
    process.kill(frozen.pid, 'SIGSTOP');
    for (const worker of [w1, w2]) worker.behave({ tokens: 2 });
    const job = await ended(id);
    process.kill(frozen.pid, 'SIGCONT');
    expect(job).toMatchObject({ status: 'completed', epoch: 2, output: { epoch: 2 } });
    await sleep(HEARTBEAT_MS + 2_000);
    expect(await service.job(id)).toMatchObject({ status: 'completed', epoch: 2, output: { epoch: 2 } });
    expect(await client.responses.retrieve(id)).toMatchObject({ output_text: 't0 t1 ' });
  }, 90_000);
});

describe('a dispatcher that is killed', () => {
  /** Invocations that were killed; requests of theirs may still be on their way. */
  const killed = new Set<string>();

  /** Ends the next invocation of dispatch as its `step`th request is carried out; how many it made, if it ended before. */
  function killAt(step: number): Promise<number> {
    let made = 0;
    return new Promise((resolve) => {
      let victim: string | undefined;
      service.onExchange(({ requestId }) => {
        const running = service.busy('dispatch').find((each) => each.requestIds.includes(requestId));
        if (running === undefined || killed.has(requestId) || (victim ?? requestId) !== requestId) return;
        victim = requestId;
        made += 1;
        if (made === step) {
          process.kill(running.pid, 'SIGKILL');
          killed.add(requestId);
          service.onExchange(undefined);
          resolve(made);
        }
      });
      void vi
        .waitUntil(
          () =>
            victim !== undefined && !service.busy('dispatch').some((each) => each.requestIds.includes(victim ?? '')),
          {
            timeout: 30_000,
          },
        )
        .then(() => resolve(made));
    });
  }

  // A killed process of a managed function takes its other jobs with it, and a job fails after a few kills.
  test.skipIf(IS_MANAGED)(
    'at any step loses nothing, commits once, and leaves no slot taken',
    { timeout: 240_000 },
    async () => {
      const ids: string[] = [];
      let steps = 0;
      for (let step = 1; ; ) {
        const over = killAt(step);
        const id = await background(`Step ${step}`);
        ids.push(id);
        steps = await over;
        if (steps === step) step += 1;
        // An invocation that made fewer has done its job, unless it let go of it for want of a slot.
        else if ((await service.job(id))?.status === 'completed') break;
      }
      service.onExchange(undefined);
      expect(steps).toBeGreaterThan(10);
      for (const id of ids) {
        const job = await ended(id);
        expect(job).toMatchObject({ status: 'completed', output: { epoch: job.epoch } });
        // Where no slot came free in time it was let go of, which counts for no attempt.
        expect(job.attempts).toBeLessThanOrEqual(2);
      }
      await vi.waitUntil(async () => (await leases()).length === 0, { timeout: 2 * LEASE_MS, interval: 200 });
      expect((await client.chat.completions.create(chat)).choices[0]?.message.content).toBe('t0 t1 t2 ');
    },
  );
});
