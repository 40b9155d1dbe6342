import { createHmac, createSecretKey } from 'node:crypto';
import type { Policy } from '../../../../shared/access/policy.ts';
import type { HttpRequest } from '../../../../shared/access/route.ts';
import { chatCompletionsRoute, responsesRoute } from '../../../../shared/api/generation-routes.ts';
import { createGovernedRouter } from '../../../../shared/api/governed-router.ts';
import { messagesRoute } from '../../../../shared/api/messages-routes.ts';
import { createModelFactory, getCapabilities } from '../../../../shared/inference/providers/providers.ts';
import { parseModelRegistry } from '../../../../shared/inference/registry.ts';
import { createRouter } from '../../../../shared/inference/router.ts';
import { recordTelemetry } from '../../core/recorded-telemetry.ts';

/** Creates the generation routes, with the real router and provider, in front of an upstream that speaks chat completions. */
export function createGovernedApi(baseUrl: string, policy: Policy, alias: Readonly<Record<string, unknown>> = {}) {
  const target = { provider: 'openai-compatible', model: 'upstream-model', baseUrl };
  const registry = parseModelRegistry(
    JSON.stringify({ models: { default: { targets: [target], ...alias } } }),
    'models.json',
  );
  const createModel = createModelFactory({
    secret: async () => '',
    seal: { seal: async ({ continuation }) => continuation, open: async () => undefined },
  });
  const keys: string[] = [];
  const router = createGovernedRouter(createRouter({ registry, createModel, getCapabilities }), {
    loadLimits: () => Promise.reject(new Error('not needed')),
    loadModerators: () => Promise.reject(new Error('not needed')),
    registry,
    openVault: async () => ({
      openReceived: () => Promise.reject(new Error('not needed')),
      deriveKey: async (tenant, purpose) => {
        keys.push(`${tenant} ${purpose}`);
        return createSecretKey(createHmac('sha256', 'test').update(tenant).digest());
      },
    }),
  });
  const api = { router, registry, fingerprint: () => 'fp' };
  const telemetry = recordTelemetry();
  const routes = { chat: chatCompletionsRoute(api), responses: responsesRoute(api), messages: messagesRoute(api) };
  return {
    telemetry,
    /** The keys that were derived, as tenant and purpose. */
    keys,
    /** Sends a body to a route, and returns the answer's headers and its text: its JSON, or the frames of its stream. */
    async call(name: keyof typeof routes, body: object, tenant = 'acme') {
      const request: HttpRequest = {
        requestId: 'request',
        pathParameters: {},
        query: {},
        headers: {},
        body,
        principal: { tenant, keyId: 'key', scopes: [], policy },
        signal: new AbortController().signal,
        deadlineAt: Date.now() + 60_000,
        telemetry,
      };
      const answer = await routes[name].run(request);
      if (!('frames' in answer))
        return { headers: answer.headers ?? {}, text: JSON.stringify('json' in answer ? answer.json : null) };
      let text = '';
      for await (const frame of answer.frames) text += frame;
      return { headers: answer.headers ?? {}, text };
    },
  };
}
