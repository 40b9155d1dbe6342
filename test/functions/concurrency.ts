import { Writable } from 'node:stream';
import { vi } from 'vitest';
import { createKeyItem } from '../../shared/access/keys.ts';
import type { Scope } from '../../shared/access/scopes.ts';
import type { ReceivedRequest } from '../upstreams/openai-upstream.ts';
import { EVENT_STREAM, encodeEvent, type Reply } from '../upstreams/reply.ts';
import type { Handler } from './test-environment.ts';

/** Number of requests that each test sends at once: the default per vCPU of Lambda Managed Instances. */
export const CONCURRENCY = 64;
export const TENANTS = ['acme', 'globex', 'initech'] as const;
export type Tenant = (typeof TENANTS)[number];

export function getTenant(index: number): Tenant {
  return TENANTS[index % TENANTS.length] ?? 'acme';
}

/** Returns the model that only this tenant uses, which identifies its log lines and metrics. */
export const getModel = (tenant: string): string => `${tenant}-model`;

/** Returns the input tokens that the upstream reports for the request with this index. They differ for each request. */
export const getInputTokens = (index: number): number => 1_000 + index;

export type LogLine = Readonly<Record<string, unknown>>;

/** Returns the dimensions and the value of each metric `name` in a log line. */
export function findMetrics(line: LogLine, name: string): { readonly [dimension: string]: unknown }[] {
  const directives: { Dimensions: string[][]; Metrics: { Name: string }[] }[] =
    Object(line['_aws'])['CloudWatchMetrics'] ?? [];
  return directives
    .filter(({ Metrics }) => Metrics.some(({ Name }) => Name === name))
    .map(({ Dimensions: [dimensions = []] }) =>
      Object.fromEntries([...dimensions, name].map((field) => [field, line[field]])),
    );
}

/**
 * Creates a gate: a function whose promises resolve when it has been called `count` times, in another order than that
 * of the calls.
 */
export function createGate(count: number): () => Promise<void> {
  const waiting: (() => void)[] = [];
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      if (waiting.length < count) return;
      // 37 is prime and divides none of the counts used here, so each promise is resolved once.
      for (let step = 0; step < count; step += 1) waiting[(step * 37) % count]?.();
    });
}

/** How the upstream treats a request: the word after `please` in its text. */
export type Behavior = 'answer' | 'fail' | 'hang' | 'hangLater';

/** Returns the text of the request with this index. */
export const makeText = (index: number, behavior: Behavior): string => `request-${index} please ${behavior}`;

/** Returns the upstream's reply to a request: its behavior, the request's index and its own token count. */
export function answerByInstruction({ text }: ReceivedRequest): Reply {
  const [, index = '', behavior] = /request-(\d+) please (\w+)/.exec(text) ?? [];
  const content = `answer-${index}`;
  const usage = { prompt_tokens: getInputTokens(Number(index)), completion_tokens: 2, total_tokens: 0 };
  const delta = (fields: object, finish_reason: string | null = null) =>
    encodeEvent({ choices: [{ index: 0, delta: fields, finish_reason }] });
  const begin = delta({ role: 'assistant', content });
  switch (behavior) {
    case 'fail':
      return { status: 400, body: { error: { message: `refused ${index}`, type: 'invalid_request_error' } } };
    case 'hang':
      return { headers: EVENT_STREAM, steps: ['stall'] };
    case 'hangLater':
      return { headers: EVENT_STREAM, steps: [{ send: begin }, 'stall'] };
  }
  if (!text.includes('"stream":true')) {
    return { body: { choices: [{ message: { role: 'assistant', content }, finish_reason: 'stop' }], usage } };
  }
  const pieces = [
    begin,
    delta({ content: '!' }),
    delta({}, 'stop'),
    encodeEvent({ choices: [], usage }),
    encodeEvent('[DONE]'),
  ];
  return { headers: EVENT_STREAM, steps: pieces.map((send) => ({ send })) };
}

/** Creates the access table's item for the key `sk-<tenant>`. */
export function makeKeyItem(tenant: string, scopes: readonly Scope[]) {
  return createKeyItem(`sk-${tenant}`, { tenant, keyId: `${tenant}-key`, scopes });
}

interface Head {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
}

/** Provides the globals of Lambda's runtime for streamed responses. Must be called before handlers are imported. */
export function stubStreamingGlobals(): void {
  vi.stubGlobal('awslambda', {
    streamifyResponse: (handler: Handler) => handler,
    HttpResponseStream: {
      from: (stream: ResponseRecorder, head: Head) => {
        stream.head = head;
        return stream;
      },
    },
  });
}

export class ResponseRecorder extends Writable {
  head: Head | undefined;
  text = '';

  // Reads slowly, so that frames of different requests interleave.
  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: () => void): void {
    this.text += String(chunk);
    setImmediate(callback);
  }
}

export interface HttpResult extends Head {
  readonly text: string;
}

/** Calls an HTTP handler as Lambda does and reads the whole response. */
export async function callHttp(handler: Handler, event: object, context: object): Promise<HttpResult> {
  const stream = new ResponseRecorder();
  await handler(event, stream, context);
  if (stream.head === undefined) throw new Error('The handler has sent no head');
  return { ...stream.head, text: stream.text };
}

export interface HttpEventOptions {
  readonly requestId: string;
  /** `POST /v1/responses`. */
  readonly route: string;
  /** Undefined for a request without a principal. */
  readonly tenant?: string;
  readonly pathParameters?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** Creates an API Gateway proxy event. */
export function makeHttpEvent(options: HttpEventOptions) {
  const { requestId, route, tenant, pathParameters = {}, query = {}, headers = {}, body } = options;
  const [httpMethod = '', resource = ''] = route.split(' ');
  return {
    httpMethod,
    resource,
    path: resource,
    headers: { 'Content-Type': 'application/json', ...headers },
    pathParameters,
    queryStringParameters: query,
    body: body === undefined ? null : JSON.stringify(body),
    requestContext: {
      requestId,
      authorizer: tenant === undefined ? undefined : { tenant, keyId: `${tenant}-key`, scopes: 'inference models' },
    },
  };
}
