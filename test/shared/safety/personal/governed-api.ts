import { createHmac, createSecretKey } from 'node:crypto';
import type { Policy } from '../../../../shared/access/policy.ts';
import type { HttpRequest } from '../../../../shared/access/route.ts';
import { embeddingsRoute } from '../../../../shared/api/embeddings-route.ts';
import type { Endpoint } from '../../../../shared/api/endpoints.ts';
import { chatCompletionsRoute, responsesRoute } from '../../../../shared/api/generation-routes.ts';
import { createGovernedEmbed } from '../../../../shared/api/governed-embed.ts';
import { createGovernedRouter } from '../../../../shared/api/governed-router.ts';
import { createAnswerJob } from '../../../../shared/api/job-answer.ts';
import { messagesRoute } from '../../../../shared/api/messages-routes.ts';
import { moderationsRoute } from '../../../../shared/api/moderations-route.ts';
import { parseQueuedRequest } from '../../../../shared/api/queued-request.ts';
import { FLEET_TIMINGS } from '../../../../shared/gpu/fleet-timings.ts';
import { createEmbed } from '../../../../shared/inference/embedding.ts';
import { createEmbedderFactory } from '../../../../shared/inference/providers/embedders.ts';
import { createModelFactory, getCapabilities } from '../../../../shared/inference/providers/providers.ts';
import { parseModelRegistry } from '../../../../shared/inference/registry.ts';
import { createRouter } from '../../../../shared/inference/router.ts';
import type { Job } from '../../../../shared/jobs/job.ts';
import { createModerators } from '../../../../shared/safety/moderation/create-moderators.ts';
import { recordTelemetry } from '../../core/recorded-telemetry.ts';

/**
 * Creates the routes that call models and what answers queued jobs, with the real router and providers, in front of an upstream that
 * speaks chat completions, or of the targets of `alias`. The models are `default`, `vectors` and, for moderations, `moderator`.
 */
export function createGovernedApi(baseUrl: string, policy: Policy, alias: Readonly<Record<string, unknown>> = {}) {
  const target = { provider: 'openai-compatible', model: 'upstream-model', baseUrl };
  const registry = parseModelRegistry(
    JSON.stringify({
      models: { default: { targets: [target], ...alias }, vectors: { targets: [target], embeddings: {} } },
      moderations: { moderator: { model: 'upstream-moderation', baseUrl } },
    }),
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
  const secret = async () => '';
  const ports = { registry, loadLimits: () => Promise.reject(new Error('not needed')) };
  const gpu = { fleets: {}, tableName: 'none', tier: 'interactive', timings: FLEET_TIMINGS.slots } as const;
  const embed = createEmbed({ registry, createModel: createEmbedderFactory({ secret, gpu }) });
  const routes = {
    chat: chatCompletionsRoute(api),
    responses: responsesRoute(api),
    messages: messagesRoute(api),
    embeddings: embeddingsRoute({ embed: createGovernedEmbed(embed, ports), registry }),
    moderations: moderationsRoute({ ...ports, findModerator: createModerators(registry, { secret }) }),
  };
  const answerJob = createAnswerJob({
    router,
    findCaller: async ({ tenant }) => ({ tenant, policy }),
    compactContext: async (_job, input) => ({ input }),
    fingerprint: () => 'fp',
    now: Date.now,
  });
  return {
    telemetry,
    /** The keys that were derived, as tenant and purpose. */
    keys,
    /** Answers a job that came from the queue, and returns its output as JSON. */
    async answerQueued(endpoint: Endpoint, body: object): Promise<string> {
      const { generation } = parseQueuedRequest(endpoint, body, { registry, tenant: 'acme' });
      const fields = {
        id: 'resp_1',
        tenant: 'acme',
        endpoint,
        model: 'default',
        epoch: 1,
        stored: false,
        createdAt: 0,
      };
      const { output } = await answerJob(
        fields as Job,
        { body, generation },
        {
          signal: new AbortController().signal,
          deadlineAt: Date.now() + 60_000,
          telemetry,
          log: undefined,
          onBegin: () => {},
        },
      );
      return JSON.stringify(output);
    },
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
