import { checkModel } from '../access/model-permissions.ts';
import type { Policy } from '../access/policy.ts';
import type { Route } from '../access/route.ts';
import type { Telemetry } from '../core/telemetry.ts';
import type { Embed, EmbeddingRequest } from '../inference/embedding.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { parseEmbeddingRequest } from '../openai/embeddings/request.ts';
import { encodeEmbeddings } from '../openai/embeddings/response.ts';
import { describeHandling } from './handling-headers.ts';
import { hasSection } from './policy-stages.ts';

/** Creates the route `POST /v1/embeddings`. */
export function embeddingsRoute({
  embed,
  registry,
}: {
  readonly embed: Embed;
  readonly registry: ModelRegistry;
}): Route {
  return {
    async run({ body, principal: { tenant, policy }, signal, deadlineAt, telemetry }) {
      const { request, model, ignored, decodeBy } = parseEmbeddingRequest(body, { registry, tenant });
      checkModel(policy, request.model);
      let { inputs } = request;
      if (decodeBy !== undefined) {
        const { decodeTokens } = await import('../openai/embeddings/decode-tokens.ts');
        inputs = await decodeTokens(inputs, decodeBy);
      }
      const governed = await applyPolicy({ ...request, inputs }, policy, telemetry);
      const embeddings = await embed(governed, { signal, deadlineAt, telemetry });
      return { headers: describeHandling(ignored), json: encodeEmbeddings(embeddings, model, request.encoding) };
    },
  };
}

/** Returns the request as the caller's policy lets a model get it. The code is loaded with the first policy. */
async function applyPolicy(request: EmbeddingRequest, policy: Policy, telemetry: Telemetry): Promise<EmbeddingRequest> {
  if (!hasSection(policy, 'personalData')) return request;
  const { maskEmbeddings } = await import('../safety/personal/mask-embeddings.ts');
  return maskEmbeddings(request, policy, { telemetry });
}
