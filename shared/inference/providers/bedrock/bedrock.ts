import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } from '@aws-sdk/client-bedrock-runtime';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { GenerationEvent } from '../../generation.ts';
import type { Model } from '../../model.ts';
import type { BedrockTarget } from '../../registry.ts';
import { BedrockAnswerReader, toStreamEvents } from './answer.ts';
import { bedrockError, incompleteStreamError, wasAccepted } from './errors.ts';
import { detectFamily } from './family.ts';
import { buildConverseCall, type ConverseCall } from './request.ts';

/**
 * A model behind Amazon Bedrock's Converse API.
 * @param client of the target's region; it must not retry by itself
 * @param limits of the alias; `maxOutputTokens` is the most an answer may have, and is always sent
 */
export function createBedrockModel(
  target: BedrockTarget,
  client: BedrockRuntimeClient,
  limits: { readonly maxOutputTokens: number },
): Model {
  const family = detectFamily(target.model).name;
  return {
    async *generate(request, { signal, streamed }) {
      signal.throwIfAborted();
      const call = buildConverseCall(request, target, limits);
      const answer = new BedrockAnswerReader({ family, answerTool: call.answerTool });
      // The SDK leaves a response open when its iteration ends early; only an abort closes the connection.
      const connection = new AbortController();
      const close = (): void => connection.abort();
      signal.addEventListener('abort', close, { once: true });
      try {
        const events = streamed ? stream : buffered;
        yield* events(client, call, answer, connection.signal);
      } catch (thrown) {
        throw signal.aborted ? signal.reason : thrown;
      } finally {
        signal.removeEventListener('abort', close);
        close();
      }
    },
  };
}

async function* buffered(
  client: BedrockRuntimeClient,
  { input: { guardrailConfig, ...input } }: ConverseCall,
  answer: BedrockAnswerReader,
  abortSignal: AbortSignal,
): AsyncGenerator<GenerationEvent> {
  const { streamProcessingMode: _, ...guardrail } = guardrailConfig ?? {};
  const command = new ConverseCommand({ ...input, ...(guardrailConfig && { guardrailConfig: guardrail }) });
  const output = await client.send(command, { abortSignal }).catch((thrown: unknown) => {
    throw bedrockError(thrown, false);
  });
  for (const event of toStreamEvents(output)) yield* answer.read(event);
  yield answer.finish();
}

async function* stream(
  client: BedrockRuntimeClient,
  { input }: ConverseCall,
  answer: BedrockAnswerReader,
  abortSignal: AbortSignal,
): AsyncGenerator<GenerationEvent> {
  const output = await client.send(new ConverseStreamCommand(input), { abortSignal }).catch((thrown: unknown) => {
    throw bedrockError(thrown, wasAccepted(thrown));
  });
  if (!output.stream) throw incompleteStreamError();
  const events = output.stream[Symbol.asyncIterator]();
  for (;;) {
    const next = await events.next().catch((thrown: unknown) => {
      // What breaks after the model's last word takes only the usage with it: the answer itself is whole.
      if (answer.stopped && !abortSignal.aborted) return { done: true as const };
      throw bedrockError(thrown, true);
    });
    if (next.done) break;
    yield* answer.read(next.value);
  }
  yield answer.finish();
}

export interface BedrockClientOptions {
  /** AWS region: `eu-west-1`; the environment's own (`AWS_REGION`) when absent. */
  readonly region?: string | undefined;
  /** Another address than AWS's own; `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` names one too. */
  readonly endpoint?: string;
}

/**
 * Makes a client for the models of one region.
 *
 * It speaks HTTP/1.1, not the SDK's default HTTP/2: with HTTP/2 a cut stream looks like a whole one, and it costs cold
 * start. It never retries and has no timeout for an answer: the router knows the deadline, and whether another target
 * is better than a second try.
 */
export function createBedrockClient({ region, endpoint }: BedrockClientOptions): BedrockRuntimeClient {
  const agent = { keepAlive: true, maxSockets: Number.POSITIVE_INFINITY };
  return new BedrockRuntimeClient({
    maxAttempts: 1,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: CONNECTION_TIMEOUT_MS,
      httpAgent: agent,
      httpsAgent: agent,
    }),
    ...(region !== undefined && { region }),
    ...(endpoint !== undefined && { endpoint }),
  });
}

/** A regional AWS endpoint takes a connection within milliseconds; one that hasn't in this time is better left. */
const CONNECTION_TIMEOUT_MS = 3_000;

const clients = new Map<string | undefined, BedrockRuntimeClient>();

/** The client that all targets of a region share, made when it is first asked for. */
export function getBedrockClient(region: string | undefined): BedrockRuntimeClient {
  const known = clients.get(region);
  if (known) return known;
  const client = createBedrockClient({ region });
  clients.set(region, client);
  return client;
}
