import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type ServerProcess, startServer } from '../../bench/processes.ts';
import { createAgentBody } from '../../bench/targets/agent-requests.ts';
import { createProxyEvent, type Endpoint } from '../../bench/targets/lambda-events.ts';
import type { GenerationApi } from '../../shared/api/generation-api.ts';
import { chatCompletionsRoute, responsesRoute } from '../../shared/api/generation-routes.ts';
import { createHttpApi } from '../../shared/api/http-api.ts';
import { messagesRoute } from '../../shared/api/messages-routes.ts';
import type { Candidate } from '../../shared/inference/candidates.ts';
import { createOpenAICompatibleModel } from '../../shared/inference/providers/openai-compatible/openai-compatible.ts';
import { getCapabilities } from '../../shared/inference/providers/providers.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';
import { createRouter } from '../../shared/inference/router.ts';
import { callHttp, stubStreamingGlobals } from '../functions/concurrency.ts';
import { getHandler, makeContext } from '../functions/test-environment.ts';
import { recordTelemetry } from '../shared/core/recorded-telemetry.ts';

const SIZE = 200_000;

let upstream: ServerProcess;

beforeAll(async () => {
  // A process of its own, so that its JSON isn't counted.
  upstream = await startServer(join(import.meta.dirname, '../../bench/targets/upstream.ts'));
  return () => upstream[Symbol.asyncDispose]();
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** Creates a handler whose only model is at the upstream. */
function createHandler() {
  stubStreamingGlobals();
  const target = { provider: 'openai-compatible', model: 'm', baseUrl: `${upstream.url}/v1` };
  const registry = parseModelRegistry(JSON.stringify({ models: { bench: { targets: [target] } } }), 'models.json');
  const createModel = async ({ target }: Candidate) => {
    if (target.provider !== 'openai-compatible') throw new Error('the registry has another target');
    return createOpenAICompatibleModel(target, { maxOutputTokens: undefined, secret: async () => '' });
  };
  const router = createRouter({ registry, createModel, getCapabilities });
  const api: GenerationApi = { router, registry, fingerprint: () => 'fp' };
  const telemetry = recordTelemetry();
  const handler = createHttpApi({
    telemetry: { metrics: telemetry.metrics, forRequest: () => telemetry },
    corsOrigin: undefined,
    table: {
      'POST /v1/chat/completions': 'generate',
      'POST /v1/responses': 'generate',
      'POST /v1/messages': 'generate',
    },
    routes: {
      'POST /v1/chat/completions': chatCompletionsRoute(api),
      'POST /v1/responses': responsesRoute(api),
      'POST /v1/messages': messagesRoute(api),
    },
  });
  return getHandler({ handler });
}

describe('a request of a coding agent', () => {
  it.each<Endpoint>(['chat/completions', 'responses', 'messages'])(
    'the body of %s is parsed once, and encoded once for the upstream',
    async (endpoint) => {
      const handler = createHandler();
      const event = createProxyEvent(`/v1/${endpoint}`, createAgentBody(endpoint, SIZE, 'bench', false));
      const parse = vi.spyOn(JSON, 'parse');
      const stringify = vi.spyOn(JSON, 'stringify');
      const { statusCode } = await callHttp(handler, event, makeContext(30_000));
      expect(statusCode).toBe(200);
      const parsed = parse.mock.calls.reduce((sum, [text]) => sum + text.length, 0);
      const encoded = stringify.mock.results.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);
      // Arguments of calls, and the tools that a response repeats, are a quarter of the body at most.
      expect(parsed / SIZE).toBeLessThan(1.25);
      expect(encoded / SIZE).toBeLessThan(1.25);
    },
  );
});
