import type { BedrockRuntimeClient, ConverseStreamOutput } from '@aws-sdk/client-bedrock-runtime';
import { afterAll, beforeEach } from 'vitest';
import type { ConverseBody } from '../../../../../local/bedrock/converse-request.ts';
import type { ConverseCall, Frame, Responder } from '../../../../../local/bedrock/frames.ts';
import { startBedrock } from '../../../../../local/bedrock/server.ts';
import type { GenerationEvent, GenerationRequest } from '../../../../../shared/inference/generation.ts';
import { UpstreamError } from '../../../../../shared/inference/model.ts';
import { createBedrockClient, createBedrockModel } from '../../../../../shared/inference/providers/bedrock/bedrock.ts';
import { type BedrockTarget, parseModelRegistry } from '../../../../../shared/inference/registry.ts';
import { collect, makeRequest } from '../../requests.ts';

export const CLAUDE = 'eu.anthropic.claude-sonnet-4-5-20250929-v1:0';

/** Returns a target as parsed from `models.json`, with its defaults, but for cache points: `promptCache: undefined` has them. */
export function makeTarget(fields: Record<string, unknown> = {}): BedrockTarget {
  const target = { provider: 'bedrock', model: CLAUDE, promptCache: false, ...fields };
  const text = JSON.stringify({ models: { m: { targets: [target] } } });
  const [parsed] = parseModelRegistry(text, 'test').models['m']?.targets ?? [];
  if (parsed?.provider !== 'bedrock') throw new Error('The target is not a Bedrock target');
  return parsed;
}

export const event = (content: ConverseStreamOutput): Frame => ({ type: 'event', event: content });
export const text = (words: string, contentBlockIndex = 0): Frame =>
  event({ contentBlockDelta: { contentBlockIndex, delta: { text: words } } });
export const start = event({ messageStart: { role: 'assistant' } });
export const blockStop = (contentBlockIndex = 0): Frame => event({ contentBlockStop: { contentBlockIndex } });
export const stop = (stopReason: string): Frame =>
  // Tests also use a stop reason that the SDK doesn't know.
  event({ messageStop: { stopReason: stopReason as 'end_turn' } });
export const usage = event({
  metadata: { usage: { inputTokens: 7, outputTokens: 5, totalTokens: 12 }, metrics: { latencyMs: 3 } },
});
export const wholeAnswer: readonly Frame[] = [start, text('Hello'), blockStop(), stop('end_turn'), usage];

/** Returns a responder that sends `frames`. */
export function script(...frames: readonly Frame[]): Responder {
  return async function* () {
    yield* frames;
  };
}

/** Starts an upstream that answers each call of a test file, whole. Its `calls` are those of the current test. */
export async function startUpstreamForTests(): Promise<Upstream> {
  const upstream = await Upstream.start(script(...wholeAnswer));
  beforeEach(() => {
    upstream.calls.length = 0;
  });
  afterAll(() => upstream[Symbol.asyncDispose]());
  return upstream;
}

/** The Bedrock stand-in and a real SDK client for it. Disposing stops both. */
export class Upstream implements AsyncDisposable {
  readonly calls: ConverseCall[] = [];
  readonly client: BedrockRuntimeClient;
  readonly #close: () => Promise<void>;

  private constructor(client: BedrockRuntimeClient, close: () => Promise<void>, calls: ConverseCall[]) {
    this.client = client;
    this.#close = close;
    this.calls = calls;
  }

  static async start(respond: Responder): Promise<Upstream> {
    // The SDK needs credentials for its signature, which the stand-in ignores.
    process.env['AWS_ACCESS_KEY_ID'] = 'test';
    process.env['AWS_SECRET_ACCESS_KEY'] = 'test';
    const calls: ConverseCall[] = [];
    const server = await startBedrock({
      respond: (call) => {
        calls.push(call);
        return respond(call);
      },
    });
    return new Upstream(createBedrockClient({ region: 'eu-west-1', endpoint: server.url }), server.close, calls);
  }

  /** Sends a request and returns all events of the answer. */
  generate(
    changes: Partial<GenerationRequest> = {},
    {
      target = makeTarget(),
      streamed = true,
      signal = new AbortController().signal,
      maxOutputTokens = 4_096,
    }: { target?: BedrockTarget; streamed?: boolean; signal?: AbortSignal; maxOutputTokens?: number } = {},
  ): Promise<GenerationEvent[]> {
    const model = createBedrockModel(target, this.client, { maxOutputTokens });
    return collect(model.generate(makeRequest(changes), { signal, streamed }));
  }

  /** Sends a request and returns the body that reached the stand-in, which refuses what Bedrock refuses. */
  async send(
    changes: Partial<GenerationRequest> = {},
    fields: Record<string, unknown> = {},
    options: { streamed?: boolean; maxOutputTokens?: number } = {},
  ): Promise<ConverseBody> {
    await this.generate(changes, { target: makeTarget(fields), ...options });
    const body = this.calls.at(-1)?.body;
    if (!body) throw new Error('The stand-in received no request');
    return body;
  }

  /** Sends a request that the provider must refuse, and returns its error. The stand-in must not have been called. */
  async catchRefusal(
    changes: Partial<GenerationRequest>,
    fields: Record<string, unknown> = {},
  ): Promise<UpstreamError> {
    const calls = this.calls.length;
    const error = await catchUpstreamError(this.generate(changes, { target: makeTarget(fields) }));
    if (this.calls.length > calls) throw new Error('The stand-in was called', { cause: error });
    return error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.destroy();
    await this.#close();
  }
}

/** Returns the UpstreamError with which `work` rejects. */
export async function catchUpstreamError(work: Promise<unknown>): Promise<UpstreamError> {
  const thrown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(thrown instanceof UpstreamError)) throw new Error('Expected an UpstreamError', { cause: thrown });
  return thrown;
}
