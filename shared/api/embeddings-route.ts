import { checkModel } from '../access/model-permissions.ts';
import type { Route } from '../access/route.ts';
import type { Embed } from '../inference/embedding.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { parseEmbeddingRequest } from '../openai/embeddings/request.ts';
import { encodeEmbeddings } from '../openai/embeddings/response.ts';
import { describeHandling } from './handling-headers.ts';

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
      const embeddings = await embed({ ...request, inputs }, { signal, deadlineAt, telemetry });
      return { headers: describeHandling(ignored), json: encodeEmbeddings(embeddings, model, request.encoding) };
    },
  };
}
