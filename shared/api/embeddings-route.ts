import type { Route } from '../access/route.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { parseEmbeddingRequest } from '../openai/embeddings/request.ts';
import { encodeEmbeddings } from '../openai/embeddings/response.ts';
import type { GovernedEmbed } from './governed-embed.ts';
import { describeHandling } from './handling-headers.ts';

/** Creates the route `POST /v1/embeddings`. */
export function embeddingsRoute({
  embed,
  registry,
}: {
  readonly embed: GovernedEmbed;
  readonly registry: ModelRegistry;
}): Route {
  return {
    async run({ body, principal, signal, deadlineAt, telemetry, defer }) {
      const { request, model, ignored, decodeBy } = parseEmbeddingRequest(body, { registry, tenant: principal.tenant });
      let { inputs } = request;
      if (decodeBy !== undefined) {
        const { decodeTokens } = await import('../openai/embeddings/decode-tokens.ts');
        inputs = await decodeTokens(inputs, decodeBy);
      }
      const call = { signal, deadlineAt, telemetry, defer, caller: principal };
      const embeddings = await embed({ ...request, inputs }, call);
      return {
        headers: { ...describeHandling(ignored), ...embeddings.headers },
        json: encodeEmbeddings(embeddings, model, request.encoding),
      };
    },
  };
}
