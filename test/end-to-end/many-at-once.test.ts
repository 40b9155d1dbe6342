import { afterEach, describe, expect, it, vi } from 'vitest';
import { answerByInstruction, CONCURRENCY, createGate, makeText } from '../functions/concurrency.ts';
import { waitUntil } from '../wait.ts';
import { type Service, startService } from './service.ts';

// The packaged bundles, as on Lambda Managed Instances: one process of each function serves many requests at once.
vi.hoisted(() => {
  process.env['LAMBDA_MODE'] = 'managed';
});

/** The model answers when it has the requests of all callers. */
let passGate = createGate(CONCURRENCY);
afterEach(() => {
  passGate = createGate(CONCURRENCY);
});
const start = () =>
  startService({
    script: async (request) => {
      await passGate();
      return answerByInstruction(request);
    },
  });

const model = 'compatible';
const indices = [...Array(CONCURRENCY).keys()];
const askAll = <T>(ask: (index: number) => Promise<T>) => Promise.all(indices.map(ask));
const countProcesses = (cloud: Service['cloud'], name: string) =>
  new Set(cloud.processes().flatMap(({ function: each, pid }) => (each === name ? [pid] : []))).size;

describe('one process of a packaged function serves 64 requests at once', () => {
  it('one process of chat streams 64 answers at once, each to its caller', async () => {
    await using service = await start();
    const answers = await askAll(async (index) => {
      const messages = [{ role: 'user' as const, content: makeText(index, 'answer') }];
      let text = '';
      for await (const { choices } of await service.client.chat.completions.create({ model, messages, stream: true }))
        text += choices[0]?.delta.content ?? '';
      return text;
    });
    expect(answers).toEqual(indices.map((index) => `answer-${index}!`));
    expect(countProcesses(service.cloud, 'chat')).toBe(1);
  });

  it('one process of generate runs 64 jobs at once, and one of responses retrieves them', async () => {
    await using service = await start();
    const { responses } = service.client;
    const answers = await askAll(async (index) => {
      const { id } = await responses.create({ model, input: makeText(index, 'answer'), background: true });
      return waitUntil(`${id} has ended`, async () => {
        const { status, output_text } = await responses.retrieve(id);
        return status === 'queued' || status === 'in_progress' ? undefined : `${status} ${output_text}`;
      });
    });
    expect(answers).toEqual(indices.map((index) => `completed answer-${index}!`));
    expect(['generate', 'responses'].map((name) => countProcesses(service.cloud, name))).toEqual([1, 1]);
  });

  it('one process of sessions creates and reads 64 conversations at once', async () => {
    await using service = await start();
    const { conversations } = service.client;
    const texts = await askAll(async (index) => {
      const items = [{ type: 'message' as const, role: 'user' as const, content: `item ${index}` }];
      const { id } = await conversations.create({ items });
      const { data } = await conversations.items.list(id);
      return data.map((item) => (item.type === 'message' ? item.content : []));
    });
    expect(texts.map((text) => JSON.stringify(text))).toEqual(
      indices.map((index) => expect.stringContaining(`"item ${index}"`)),
    );
    expect(countProcesses(service.cloud, 'sessions')).toBe(1);
  });
});
