import type OpenAI from 'openai';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Job } from '../../shared/jobs/job.ts';
import { IS_MANAGED } from '../lambda-mode.ts';
import type { GpuWorker } from '../upstreams/gpu-worker.ts';
import { waitUntil } from '../wait.ts';
import { type GpuService, startGpuService } from './gpu-service.ts';

let service: GpuService;
let client: OpenAI;
let w1: GpuWorker;
let w2: GpuWorker;
beforeAll(async () => {
  service = await startGpuService();
  client = service.client;
  [w1, w2] = service.workers as [GpuWorker, GpuWorker];
});
afterAll(() => service[Symbol.asyncDispose]());
beforeEach(async () => {
  for (const worker of service.workers) worker.behave({});
  await service.register(4);
});

const chat = { model: 'gpu', messages: [{ role: 'user' as const, content: 'Hello' }] };
const listLeases = async () => (await service.readFleet()).flatMap((worker) => Object.keys(worker.leases));
const countGenerated = () => w1.countTokensSince(0) + w2.countTokensSince(0);
const getError = (call: Promise<unknown>) => call.catch((error: unknown) => error);

async function createBackground(input = 'Hello'): Promise<string> {
  return (await client.responses.create({ model: 'gpu', input, background: true })).id;
}

/** Waits until a job has ended, and returns it. */
function waitForEnd(id: string): Promise<Job> {
  return waitUntil(`${id} has ended`, async () => {
    const job = await service.readJob(id);
    return job !== undefined && !['queued', 'in_progress'].includes(job.status) && job;
  });
}

describe('chat', () => {
  it('a chat is answered by a worker, streamed or not, and its lease is released', async () => {
    const { choices } = await client.chat.completions.create(chat);
    expect(choices[0]?.message.content).toBe('t0 t1 t2 ');
    let text = '';
    for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? '';
    }
    expect(text).toBe('t0 t1 t2 ');
    // The client has the whole answer before the function has ended.
    await waitUntil('the lease is released', async () => (await listLeases()).length === 0);
  });

  it('a chat is refused with Retry-After if no worker is ready', async () => {
    await service.register(4, 0);
    const error = await getError(client.chat.completions.create(chat));
    expect(error).toMatchObject({ status: 503, code: 'overloaded' });
    expect(Number(Object(error).headers.get('retry-after'))).toBeGreaterThan(0);
    await service.register(4);
    expect((await client.chat.completions.create(chat)).choices[0]?.message.content).toBe('t0 t1 t2 ');
  });

  it('a chat falls back to a hosted model if no worker is ready', async () => {
    await service.register(4, 0);
    const { choices } = await client.chat.completions.create({ ...chat, model: 'helped' });
    expect(choices[0]?.message.content).toBe('You said: Hello');
  });

  it('a killed chat function stops its worker at once, and its slot is free when its lease expires', async () => {
    await service.register(1, 1);
    w1.behave({ tokens: 100_000, tokenMs: 20 });
    const failure = getError(
      (async () => {
        for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
          if (chunk.choices[0]?.delta.content === 't3 ') {
            for (const { pid } of service.listBusy('chat')) process.kill(pid, 'SIGKILL');
          }
        }
      })(),
    );
    expect(await failure).toBeInstanceOf(Error);
    await w1.served.at(-1)?.closed;
    w1.behave({});
    const leases = (await service.readFleet()).flatMap((worker) => Object.values(worker.leases));
    expect(leases).toHaveLength(1);
    await waitUntil('a chat gets the slot', () => client.chat.completions.create(chat).catch(() => undefined));
    for (const { expiresAt } of leases) expect(expiresAt).toBeLessThanOrEqual(Date.now());
  });
});

describe('background responses', () => {
  it('a background response goes through the GPU queue and runs as batch work', async () => {
    const before = w1.served.length + w2.served.length;
    const id = await createBackground();
    expect(await waitForEnd(id)).toMatchObject({ status: 'completed', lane: 'gpu', epoch: 1 });
    expect(await client.responses.retrieve(id)).toMatchObject({ status: 'completed', output_text: 't0 t1 t2 ' });
    const served = [...w1.served, ...w2.served];
    expect(served.length).toBe(before + 1);
    expect(served.map(({ body }) => body['priority'])).toContain(1);
    await waitUntil('the lease is released', async () => (await listLeases()).length === 0);
  });

  it('cancelling a background response closes the engine connection', async () => {
    for (const worker of [w1, w2]) worker.behave({ tokens: 100_000, tokenMs: 20 });
    const before = countGenerated();
    const id = await createBackground();
    await waitUntil('a worker generates', () => countGenerated() > before + 3);
    await client.responses.cancel(id);
    expect(await waitForEnd(id)).toMatchObject({ status: 'cancelled' });
    // Both would generate for half an hour.
    await Promise.all([w1, w2].map((worker) => worker.served.at(-1)?.closed));
    await waitUntil('the lease is released', async () => (await listLeases()).length === 0);
  });

  it('a background response waits until a worker is ready', async () => {
    await service.register(4, 0);
    const id = await createBackground();
    await waitUntil('the job is released', async () => ((await service.readJob(id))?.releases ?? 0) > 0);
    await service.register(4);
    expect(await waitForEnd(id)).toMatchObject({ status: 'completed', attempts: 1 });
  });

  it('a background response continues on another worker in the same invocation if its worker is killed', async () => {
    for (const worker of [w1, w2]) worker.behave({ tokens: 100_000, tokenMs: 20 });
    const before = [w1.countTokensSince(0), w2.countTokensSince(0)];
    const id = await createBackground();
    await waitUntil('a worker generates', () => countGenerated() > Number(before[0]) + Number(before[1]) + 3);
    const [running] = service.listBusy('dispatch');
    const victim = w1.countTokensSince(0) > Number(before[0]) ? w1 : w2;
    for (const worker of [w1, w2]) worker.behave({});
    await victim.kill();
    expect(await waitForEnd(id)).toMatchObject({ status: 'completed', epoch: 2 });
    expect(service.cloud.processes().map(({ pid }) => pid)).toContain(running?.pid);
    await victim.restart();
  });

  // A stopped process of a managed function still gets invocations, so nothing takes its work over.
  it.skipIf(IS_MANAGED)(
    'a background response is committed once if its dispatcher resumes after its lease expired',
    async () => {
      for (const worker of [w1, w2]) worker.behave({ tokens: 100_000, tokenMs: 20 });
      const before = countGenerated();
      const id = await createBackground();
      await waitUntil('a worker generates', () => countGenerated() > before + 3);
      const [frozen] = service.listBusy('dispatch');
      if (frozen === undefined) throw new Error('No dispatcher is running');
      process.kill(frozen.pid, 'SIGSTOP');
      for (const worker of [w1, w2]) worker.behave({ tokens: 2 });
      const job = await waitForEnd(id);
      process.kill(frozen.pid, 'SIGCONT');
      expect(job).toMatchObject({ status: 'completed', epoch: 2, output: { epoch: 2 } });
      await waitUntil(
        'the dispatcher has noticed',
        () => !service.listBusy('dispatch').some(({ pid }) => pid === frozen.pid),
      );
      expect(await service.readJob(id)).toMatchObject({ status: 'completed', epoch: 2, output: { epoch: 2 } });
      expect(await client.responses.retrieve(id)).toMatchObject({ output_text: 't0 t1 ' });
    },
  );
});

describe('killed dispatchers', () => {
  /** Ids of killed invocations, whose requests may still arrive. */
  const killed = new Set<string>();

  /**
   * Kills the next invocation of dispatch at its request number `step`.
   * @returns the number of requests that it made: less than `step` if it ended before
   */
  function killAt(step: number): Promise<number> {
    let requests = 0;
    return new Promise((resolve) => {
      let victim: string | undefined;
      service.onExchange(({ requestId }) => {
        const running = service.listBusy('dispatch').find((each) => each.requestIds.includes(requestId));
        if (running === undefined || killed.has(requestId) || (victim ?? requestId) !== requestId) return;
        victim = requestId;
        requests += 1;
        if (requests === step) {
          process.kill(running.pid, 'SIGKILL');
          killed.add(requestId);
          service.onExchange(undefined);
          resolve(requests);
        }
      });
      void waitUntil(
        'the invocation has ended',
        () =>
          victim !== undefined && !service.listBusy('dispatch').some((each) => each.requestIds.includes(victim ?? '')),
      ).then(() => resolve(requests));
    });
  }

  // Killing a process of a managed function also kills its other jobs, and a job fails after a few kills.
  it.skipIf(IS_MANAGED)(
    'a dispatcher killed at any step loses no job, commits each job once and leaves no lease',
    { timeout: 600_000 },
    async () => {
      const ids: string[] = [];
      let steps = 0;
      for (let step = 1; ; ) {
        const killing = killAt(step);
        const id = await createBackground(`Step ${step}`);
        ids.push(id);
        steps = await killing;
        if (steps === step) step += 1;
        // An invocation with fewer requests has completed its job, unless it released the job for lack of a slot.
        else if ((await service.readJob(id))?.status === 'completed') break;
      }
      service.onExchange(undefined);
      // At least the claim, the input, the slot, the output and the commit.
      expect(steps).toBeGreaterThan(4);
      for (const id of ids) {
        const job = await waitForEnd(id);
        // On a slow machine, the next kill may hit the next attempt of the same job. After three it has failed.
        if (job.epoch >= 3 && job.status === 'failed')
          expect(job).toMatchObject({ attempts: 3, errorCode: 'internal' });
        else expect(job).toMatchObject({ status: 'completed', output: { epoch: job.epoch } });
      }
      await waitUntil('all leases have expired', async () => (await listLeases()).length === 0);
      expect((await client.chat.completions.create(chat)).choices[0]?.message.content).toBe('t0 t1 t2 ');
    },
  );
});
