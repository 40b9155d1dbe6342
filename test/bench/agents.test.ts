import { describe, expect, it } from 'vitest';
import { compare } from '../../bench/agents.ts';
import { createAgentBody } from '../../bench/targets/agent-requests.ts';
import { parseMessagesRequest } from '../../shared/anthropic/request.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';
import { parseChatRequest } from '../../shared/openai/chat/request.ts';
import { parseResponsesBody } from '../../shared/openai/responses/request.ts';

describe('the request of an agent', () => {
  const target = { provider: 'openai-compatible', model: 'm', baseUrl: 'http://127.0.0.1/v1' };
  const registry = parseModelRegistry(JSON.stringify({ models: { bench: { targets: [target] } } }), 'models.json');
  const context = { registry, tenant: 'bench', headers: {} };
  const parsers = {
    'chat/completions': (body: unknown) => parseChatRequest(body, context),
    responses: (body: unknown) => parseResponsesBody(body, context),
    messages: (body: unknown) => parseMessagesRequest(body, context),
  };

  it.each(
    (['chat/completions', 'responses', 'messages'] as const).flatMap((endpoint) =>
      [1_000, 50_000, 100_000, 300_000].map((size) => ({ endpoint, size })),
    ),
  )('the body of $endpoint has exactly $size bytes and only fields that count', ({ endpoint, size }) => {
    const body = createAgentBody(endpoint, size, 'bench', true);
    expect(Buffer.byteLength(body)).toBe(size);
    const { ignored, streamed } = parsers[endpoint](JSON.parse(body));
    expect({ ignored, streamed }).toEqual({ ignored: [], streamed: true });
  });

  it('a body of 300 KB has the same 20 tools as one of 50 KB, and dozens of turns', () => {
    const [small, large] = [50_000, 300_000].map(
      (size) =>
        parseChatRequest(JSON.parse(createAgentBody('chat/completions', size, 'bench', true)), context).generation,
    );
    expect([small?.tools.length, large?.tools.length]).toEqual([20, 20]);
    expect(large?.messages.filter(({ role }) => role === 'tool').length).toBeGreaterThan(48);
  });
});

it('the time that a target adds is the median of its rounds, each compared with the direct request of that round', () => {
  const direct = { firstByteMs: [1, 10, 100], cpuMs: 0 };
  const target = { firstByteMs: [4, 12, 101], cpuMs: 2 };
  expect(compare(['direct', 'target'], [direct, target])).toEqual([
    { target: 'direct', firstByteMs: 10, addedMs: 0, cpuMs: 0 },
    { target: 'target', firstByteMs: 12, addedMs: 2, cpuMs: 2 },
  ]);
});
