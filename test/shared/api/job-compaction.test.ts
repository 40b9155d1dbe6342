import { beforeEach, expect, it } from 'vitest';
import { createGovernedRouter } from '../../../shared/api/governed-router.ts';
import { createAnswerJob } from '../../../shared/api/job-answer.ts';
import { compactJobContext } from '../../../shared/api/job-compaction.ts';
import { LimitsStage } from '../../../shared/api/limits-stage.ts';
import { parseQueuedRequest } from '../../../shared/api/queued-request.ts';
import type { GenerationRequest } from '../../../shared/inference/generation.ts';
import { parseModelRegistry } from '../../../shared/inference/registry.ts';
import { createRouter } from '../../../shared/inference/router.ts';
import { createBodies } from '../../../shared/jobs/bodies.ts';
import { createMemoryStore } from '../../../shared/jobs/memory-store.ts';
import { recordTelemetry } from '../core/recorded-telemetry.ts';
import { aJob } from '../jobs/jobs.ts';
import { createMemoryBlobs } from '../jobs/memory-blobs.ts';
import { aVault } from '../jobs/services.ts';
import { MemoryCounters } from '../limits/memory-counters.ts';

const USAGE = { inputTokens: 20, cachedInputTokens: 0, outputTokens: 30, reasoningTokens: 0 };
const TARGET = { provider: 'bedrock', model: 'm', price: { inputPerMillion: 1, outputPerMillion: 10 } };
const registry = parseModelRegistry(JSON.stringify({ models: { default: { targets: [TARGET] } } }), 'test');
const getCapabilities = () => new Set<never>();
const body = {
  model: 'default',
  input: [
    { role: 'user', content: 'Which bird? '.repeat(1_000) },
    { role: 'assistant', content: 'A falcon.' },
    { role: 'user', content: 'Go on' },
  ],
  context_management: [{ type: 'compaction', compact_threshold: 1_000 }],
};

let now: number;
let sent: GenerationRequest[];
let lines: Record<string, unknown>[];
let blobs: ReturnType<typeof createMemoryBlobs>;
beforeEach(() => {
  now = Date.UTC(2026, 10, 30, 12, 0, 5);
  sent = [];
  lines = [];
  blobs = createMemoryBlobs();
});

/** Creates a function that makes an attempt at a job whose key may call once a minute. */
function createAttempts() {
  const sealing = aVault();
  const vault = { ...sealing, openReceived: sealing.open };
  const router = createGovernedRouter(
    createRouter({
      registry,
      getCapabilities,
      createModel: async () => ({
        async *generate(request) {
          sent.push(request);
          yield { type: 'text', text: 'Notes.' };
          yield { type: 'finish', reason: 'stop', usage: USAGE };
        },
      }),
    }),
    {
      registry: { guardrails: {} },
      openVault: () => expect.unreachable(),
      loadModerators: () => expect.unreachable(),
      loadLimits: async () => stage,
    },
  );
  const stage = new LimitsStage({
    ...{ store: new MemoryCounters(), registry, getCapabilities, whenDown: 'refuse', now: () => now },
  });
  const ports = {
    ...{ registry, router, vault, bodies: createBodies(vault, blobs), jobs: createMemoryStore(() => now) },
    conversations: { readEarlier: () => expect.unreachable() },
  };
  const answerJob = createAnswerJob({
    router,
    findCaller: async ({ tenant }) => ({ tenant, keyId: 'k1', policy: { key: { limits: { requestsPerMinute: 1 } } } }),
    compactContext: (job, input, call) => compactJobContext(job, input, ports, call),
    fingerprint: () => 'fp',
    now: () => now,
  });
  const { generation } = parseQueuedRequest('/v1/responses', body, { registry, tenant: 'acme' });
  return async (epoch: number) => {
    const { lines: written, ...telemetry } = recordTelemetry();
    const job = aJob({ endpoint: '/v1/responses', model: 'default', epoch });
    const call = { signal: new AbortController().signal, deadlineAt: Date.now() + 60_000, telemetry };
    try {
      return await answerJob(job, { body, generation }, { ...call, log: undefined, onBegin: () => {} });
    } finally {
      telemetry.metrics.flush();
      lines.push(...written);
    }
  };
}

it('a job whose answer a limit refuses after its summary counts an ask, and is not summarized again', async () => {
  const attempt = createAttempts();
  const refusal = await attempt(1).catch((thrown: unknown) => thrown);
  expect(refusal).toMatchObject({ code: 'rate_limit_exceeded', details: { limit: 'key.requestsPerMinute' } });
  expect(refusal).not.toMatchObject({ details: { isUnasked: true } });
  expect(sent).toHaveLength(1);
  // The limit refuses the next attempt before it calls a model.
  now += 1_000;
  await expect(attempt(2)).rejects.toMatchObject({ details: { isUnasked: true } });
  expect(sent).toHaveLength(1);
  now += 60_000;
  const { output, usage, notes } = await attempt(3);
  expect(sent).toHaveLength(2);
  const texts = JSON.stringify(sent[1]?.messages);
  expect(texts).toContain('Notes.');
  expect(texts).toContain('Go on');
  expect(texts).not.toContain('A falcon.');
  expect(output.answer).toMatchObject({ output: [{ type: 'compaction' }, { type: 'message' }] });
  expect(usage).toMatchObject({ inputTokens: 40, outputTokens: 60 });
  expect(notes).toMatchObject({ inputTokens: 40, outputTokens: 60, costUsd: '0.00064' });
  // The metrics have the summary and the answer once each.
  expect(lines.flatMap(({ OutputTokens }) => OutputTokens ?? [])).toEqual([30, 30]);
});

it('a job whose kept compaction can not be read is summarized again', async () => {
  const attempt = createAttempts();
  await expect(attempt(1)).rejects.toMatchObject({ code: 'rate_limit_exceeded' });
  await blobs.remove('acme', 'resp_1');
  now += 60_000;
  await expect(attempt(2)).rejects.toMatchObject({ code: 'rate_limit_exceeded' });
  expect(sent).toHaveLength(2);
});
