import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } from '@aws-sdk/client-bedrock-runtime';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { GenerationEvent, GenerationRequest } from '../../generation.ts';
import type { Model } from '../../model.ts';
import type { BedrockTarget } from '../../registry.ts';
import { BedrockAnswerReader, toStreamEvents } from './answer.ts';
import { bedrockError, incompleteStreamError, wasAccepted } from './errors.ts';
import { describeTarget, detectFamily } from './family.ts';
import { buildConverseCall, type ConverseCall, chooseServiceTier } from './request.ts';
import { readToolInputs } from './tool-inputs.ts';
import { asksForCall, asksForFormat, enforcesSchemas } from './tools.ts';

/**
 * Creates a model behind Amazon Bedrock: by its Converse API, or by InvokeModel for Claude and a caller that speaks
 * Claude's own protocol.
 * @param client a client of the target's region that doesn't retry
 * @param limits `maxOutputTokens` is the upper limit of an answer, which is sent if the caller sets none
 */
export function createBedrockModel(
  target: BedrockTarget,
  client: BedrockRuntimeClient,
  limits: { readonly maxOutputTokens: number | undefined },
): Model {
  const family = detectFamily(target.model);

  /** Builds the call: in the caller's own format if the model speaks it, or else for Converse. */
  async function prepareCall(request: GenerationRequest, streamed: boolean) {
    if (request.original !== undefined) {
      const [{ buildNativeBody, findNativeRequest }, { invokeBuffered, invokeStreamed }] = await Promise.all([
        import('./native-request.ts'),
        import('./native.ts'),
      ]);
      const original = findNativeRequest(request, target, family);
      if (original !== undefined) {
        const body = buildNativeBody(request, original, target, limits.maxOutputTokens);
        const call = { modelId: target.model, body, serviceTier: chooseServiceTier(request, target) };
        return (signal: AbortSignal) => (streamed ? invokeStreamed : invokeBuffered)(client, call, signal);
      }
    }
    const call = buildConverseCall(request, target, limits);
    const answer = new BedrockAnswerReader({ family: family.name, answerTool: call.answerTool, stop: request.stop });
    const streams = streamed && (family.streamsTools || call.input.toolConfig === undefined);
    const converse = streams ? converseStreamed : converseBuffered;
    return (signal: AbortSignal) => converse(client, call, answer, signal);
  }

  return {
    answersAtOnce: ({ tools, format }) => !family.streamsTools && (tools.length > 0 || format.type !== 'text'),
    enforcesSchemas: (request) => enforcesSchemas(request, family),
    listIgnored: async (request) => (await import('./native-request.ts')).listIgnoredByBedrock(request),
    asksForFormat: (request) => asksForFormat(request, describeTarget(target)),
    asksForCall: (request) => asksForCall(request, describeTarget(target)),
    async *generate(request, { signal, streamed }) {
      signal.throwIfAborted();
      const start = await prepareCall(request, streamed);
      // The SDK leaves the response open if its iteration ends early; only an abort closes the connection.
      const connection = new AbortController();
      const close = (): void => connection.abort();
      signal.addEventListener('abort', close, { once: true });
      try {
        yield* start(connection.signal);
      } catch (thrown) {
        throw signal.aborted ? signal.reason : thrown;
      } finally {
        signal.removeEventListener('abort', close);
        close();
      }
    },
  };
}

async function* converseBuffered(
  client: BedrockRuntimeClient,
  { input: { guardrailConfig, ...input } }: ConverseCall,
  answer: BedrockAnswerReader,
  abortSignal: AbortSignal,
): AsyncGenerator<GenerationEvent> {
  const { streamProcessingMode: _, ...guardrail } = guardrailConfig ?? {};
  const command = new ConverseCommand({ ...input, ...(guardrailConfig && { guardrailConfig: guardrail }) });
  const readBody = keepBody(command);
  const output = await client.send(command, { abortSignal }).catch((thrown: unknown) => {
    throw bedrockError(thrown, false);
  });
  const callsTools = output.output?.message?.content?.some(({ toolUse }) => toolUse !== undefined);
  const inputs = callsTools ? readToolInputs(readBody()) : [];
  for (const event of toStreamEvents(output, inputs)) yield* answer.read(event);
  yield answer.finish();
}

/** Lets a command keep the body of its response. Returns a function that returns the body once it was received. */
function keepBody(command: ConverseCommand): () => string {
  const chunks: Uint8Array[] = [];
  command.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      const response = result.response as { body: AsyncIterable<Uint8Array> | Uint8Array };
      for await (const chunk of response.body as AsyncIterable<Uint8Array>) chunks.push(chunk);
      response.body = Buffer.concat(chunks);
      return result;
    },
    // After the SDK's own step of this name, which parses the body.
    { step: 'deserialize', priority: 'low' },
  );
  return () => Buffer.concat(chunks).toString();
}

async function* converseStreamed(
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
      // A failure after the stop reason loses only the usage; the answer is complete.
      if (answer.stopped && !abortSignal.aborted) return { done: true as const };
      throw bedrockError(thrown, true);
    });
    if (next.done) break;
    yield* answer.read(next.value);
  }
  yield answer.finish();
}

export interface BedrockClientOptions {
  /** AWS region, such as `eu-west-1`; absent for `AWS_REGION`. */
  readonly region?: string | undefined;
  /** Endpoint to use instead of AWS's. The variable `AWS_ENDPOINT_URL_BEDROCK_RUNTIME` sets one, too. */
  readonly endpoint?: string;
}

/**
 * Creates a client for the models of one region.
 *
 * It uses HTTP/1.1 instead of the SDK's default HTTP/2, with which a truncated stream looks complete and cold starts
 * take longer. It doesn't retry and has no timeout for an answer, because the router knows the deadline and the other
 * targets.
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

/** A regional AWS endpoint accepts a connection within milliseconds. After this time, a new attempt is faster. */
const CONNECTION_TIMEOUT_MS = 3_000;

/** One client per region in the registry. */
const clients = new Map<string | undefined, BedrockRuntimeClient>();

/** Returns the client that all targets of a region share. Creates it on first use. */
export function getBedrockClient(region: string | undefined): BedrockRuntimeClient {
  const existing = clients.get(region);
  if (existing) return existing;
  const client = createBedrockClient({ region });
  clients.set(region, client);
  return client;
}
