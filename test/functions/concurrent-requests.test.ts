import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import type { ReceivedRequest } from '../upstreams/openai-upstream.ts';
import {
  answerAsAsked,
  type Behavior,
  CONCURRENCY,
  callHttp,
  captureLogLines,
  createGate,
  type Handler,
  type HttpResult,
  handlerOf,
  inputTokensOf,
  keyItemOf,
  type LogLine,
  makeHttpEvent,
  metricsIn,
  modelOf,
  stubStreamingGlobals,
  TENANTS,
  tenantOf,
  textOf,
} from './concurrency.ts';
import { makeContext, startTestEnvironment, type TestEnvironment } from './test-environment.ts';

/** Milliseconds before the function's timeout at which an HTTP request is aborted. */
const MARGIN_MS = 1_500;
/** Remaining time in which a stream that follows a job is there, and ended by the deadline. */
const FOLLOW_MS = MARGIN_MS + 3_000;

let surroundings: TestEnvironment;
let chat: Handler;
let responses: Handler;
let sessions: Handler;
let authorize: Handler;
let lines: LogLine[];
let passGate: (request: ReceivedRequest) => Promise<void> = async () => {};

beforeAll(async () => {
  surroundings = await startTestEnvironment(
    async (request) => {
      await passGate(request);
      return answerAsAsked(request);
    },
    { aliases: TENANTS.map(modelOf) },
  );
  const { dynamodb } = surroundings.services;
  for (const tenant of TENANTS) {
    await dynamodb.send(new PutItemCommand({ TableName: 'access', Item: keyItemOf(tenant, ['inference']) }));
  }
  for (const [name, value] of Object.entries(surroundings.environment)) vi.stubEnv(name, value);
  vi.stubEnv('LOG_LEVEL', 'info');
  stubStreamingGlobals();
  [chat, responses, sessions, authorize] = await Promise.all([
    import('../../functions/chat.ts').then(handlerOf),
    import('../../functions/responses.ts').then(handlerOf),
    import('../../functions/sessions.ts').then(handlerOf),
    import('../../functions/authorize.ts').then(handlerOf),
  ]);
  lines = captureLogLines();
});
afterAll(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  await surroundings[Symbol.asyncDispose]();
});
beforeEach(() => {
  lines.splice(0);
  passGate = async () => {};
});

/** Sends `count` requests at once. */
const all = <T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => make(index)));

/** Asserts that every log line names one of the requests, and that its tenant is that request's. */
function expectOwnLines(tenantOfRequest: (requestId: string) => string | undefined): void {
  for (const line of lines.filter(({ message }) => message !== undefined)) {
    expect(line['requestId']).toMatch(/^r\d+$/);
    if (line['tenant'] !== undefined) expect(line).toMatchObject(principalOf(tenantOfRequest(`${line['requestId']}`)));
  }
}

const principalOf = (tenant: string | undefined) => ({ tenant, keyId: `${tenant}-key` });
const linesOf = (requestId: string) => lines.filter((line) => line['requestId'] === requestId);

/** The only line of a request that carries metrics. */
function summaryOf(requestId: string): LogLine {
  const summaries = linesOf(requestId).filter(({ _aws }) => _aws !== undefined);
  expect(summaries).toHaveLength(1);
  expect(summaries[0]).toMatchObject({ message: 'request', LatencyMs: expect.any(Number) });
  return summaries[0] ?? {};
}

const numberOf = (requestId: string): number => Number(requestId.slice(1));

it('the chat function keeps the log lines, metrics, headers and aborts of 64 interleaved requests apart', async () => {
  // One in eight has no principal, and two in eight hang until their deadline. The upstream answers the others when all of
  // them are there and those that hang have been aborted.
  const behaviorOf = (index: number): Behavior | 'unauthorized' =>
    (['answer', 'answer', 'fail', 'hang', 'answer', 'hangLater', 'answer', 'unauthorized'] as const)[index % 8] ??
    'answer';
  const streamed = (index: number) => index % 16 >= 4;
  const route = (index: number) => (index % 3 === 1 ? 'POST /v1/responses' : 'POST /v1/chat/completions');
  const openGate = createGate(CONCURRENCY - 3 * (CONCURRENCY / 8));
  const isAborted = (index: number) => behaviorOf(index).startsWith('hang');
  const calls = Array.from({ length: CONCURRENCY }, (_, index) => {
    const behavior = behaviorOf(index);
    const text = textOf(index, behavior === 'unauthorized' ? 'answer' : behavior);
    const tenant = tenantOf(index);
    const body = {
      model: modelOf(tenant),
      stream: streamed(index),
      ...(route(index) === 'POST /v1/responses' ? { input: text } : { messages: [{ role: 'user', content: text }] }),
    };
    const headers = index % 5 === 0 ? { 'Idempotency-Key': `key-${index}` } : {};
    const event = makeHttpEvent({
      requestId: `r${index}`,
      route: route(index),
      body,
      headers,
      ...(behavior === 'unauthorized' ? {} : { tenant }),
    });
    return callHttp(chat, event, makeContext(isAborted(index) ? MARGIN_MS + 1_500 : 60_000));
  });
  const aborts = Promise.all(calls.filter((_, index) => isAborted(index)));
  passGate = async ({ text }) => {
    if (text.includes('please hang')) return;
    await aborts;
    await openGate();
  };
  const answers = await Promise.all(calls);

  expectOwnLines((requestId) => tenantOf(numberOf(requestId)));
  for (const [index, answer] of answers.entries()) {
    const behavior = behaviorOf(index);
    const summary = summaryOf(`r${index}`);
    expect(answer.headers['x-request-id']).toBe(`r${index}`);
    expect(summary).toMatchObject({ route: route(index), status: answer.statusCode });
    if (behavior === 'unauthorized') {
      expect(answer.statusCode).toBe(401);
      expect(summary).not.toHaveProperty('tenant');
      continue;
    }
    const tenant = tenantOf(index);
    expect(summary).toMatchObject(principalOf(tenant));
    const warnings = linesOf(`r${index}`).filter(({ level }) => level === 'warn');
    expect(warnings).toHaveLength(behavior === 'fail' ? 1 : 0);
    if (behavior === 'answer') {
      expect(answer.statusCode).toBe(200);
      expect(answer.text).toContain(`answer-${index}`);
      expect(answer.text.match(/answer-\d+/g)).not.toContainEqual(expect.not.stringMatching(`^answer-${index}$`));
      expect(summary).toMatchObject({ model: modelOf(tenant), inputTokens: inputTokensOf(index), whole: true });
      expect(metricsIn(summary, 'InputTokens')).toEqual([
        { FunctionName: 'local', Model: modelOf(tenant), InputTokens: inputTokensOf(index) },
      ]);
    } else if (behavior === 'fail') {
      expect(answer.statusCode).toBe(400);
      expect(answer.text).toContain(`refused ${index}`);
      expect(warnings[0]).toMatchObject({ message: 'attempt failed', model: modelOf(tenant) });
    } else {
      // A stream whose first frame was sent has its status already.
      const hasBegun = answer.statusCode === 200;
      expect(hasBegun ? answer.text : answer.statusCode).toEqual(
        hasBegun ? expect.stringContaining('deadline_exceeded') : 504,
      );
    }
    if (behavior !== 'answer') expect(metricsIn(summary, 'InputTokens')).toEqual([]);
  }
  // What was aborted, and nothing else, has lost its connection to the upstream.
  for (const request of surroundings.upstream.requests) {
    expect(await request.closedEarly).toBe(/please hang/.test(request.text));
  }
});

/** Creates a response; returns the first JSON of its answer. */
const createResponse = async (tenant: string, index: number, more: object = {}): Promise<unknown> => {
  const remainingMs = 'background' in more ? FOLLOW_MS : 60_000;
  const body = { model: modelOf(tenant), input: textOf(index, 'answer'), ...more };
  const event = makeHttpEvent({ requestId: `r${index}`, route: 'POST /v1/responses', tenant, body });
  return JSON.parse(
    (await callHttp(chat, event, makeContext(remainingMs))).text.replace(/^.*?data: /s, '').split('\n')[0] ?? '',
  );
};

it('the responses function keeps the log lines, metrics, headers and aborts of 64 interleaved requests apart', async () => {
  const stored = await all(CONCURRENCY, async (index) => {
    const { id = '' } = Object(await createResponse(tenantOf(index), index));
    return String(id);
  });
  const running = await all(8, async (index) => {
    const event = await createResponse(tenantOf(index), index, { background: true, stream: true });
    return String(Object(event).response.id);
  });
  lines.splice(0);

  const kindOf = (index: number) =>
    (['own', 'own', 'foreign', 'invalid', 'own', 'own', 'follow', 'own'] as const)[index % 8];
  const answers = await all(CONCURRENCY, (index) => {
    const kind = kindOf(index);
    const followed = Math.floor(index / 8);
    const tenant = kind === 'follow' ? tenantOf(followed) : tenantOf(kind === 'foreign' ? index + 1 : index);
    const id = kind === 'follow' ? (running[followed] ?? '') : (stored[index] ?? '');
    const query = kind === 'follow' ? { stream: 'true' } : kind === 'invalid' ? { stream: `maybe-${index}` } : {};
    const route = index % 4 === 1 ? 'GET /v1/responses/{id}/input_items' : 'GET /v1/responses/{id}';
    const event = makeHttpEvent({ requestId: `r${index}`, route, tenant, pathParameters: { id }, query });
    return callHttp(responses, event, makeContext(kind === 'follow' ? FOLLOW_MS : 60_000)).then((answer) => ({
      ...answer,
      tenant,
      id,
      route,
    }));
  });

  expectOwnLines((requestId) => answers[numberOf(requestId)]?.tenant);
  for (const [index, { statusCode, headers, text, tenant, route, id }] of answers.entries()) {
    expect(headers['x-request-id']).toBe(`r${index}`);
    expect(summaryOf(`r${index}`)).toMatchObject({ ...principalOf(tenant), route, status: statusCode });
    const kind = kindOf(index);
    if (kind === 'foreign') expect(statusCode).toBe(404);
    else if (kind === 'invalid') expect({ statusCode, text }).toMatchObject({ statusCode: 400 });
    else {
      expect(statusCode).toBe(200);
      expect(text).toContain(kind === 'follow' || index % 4 !== 1 ? id : textOf(index, 'answer'));
      if (kind === 'follow') expect(text).toContain('deadline_exceeded');
    }
  }
});

it('the sessions function keeps the log lines, metrics and headers of 64 interleaved requests apart', async () => {
  const create = (index: number, tenant: string, headers = {}): Promise<HttpResult> => {
    const items = [{ type: 'message', role: 'user', content: `item-${index}` }];
    const event = makeHttpEvent({
      requestId: `r${index}`,
      route: 'POST /v1/conversations',
      tenant,
      headers,
      body: { metadata: { index: String(index) }, items },
    });
    return callHttp(sessions, event, makeContext());
  };
  const ids = (await all(CONCURRENCY, (index) => create(index, tenantOf(index)))).map(
    ({ text }) => JSON.parse(text).id,
  );
  lines.splice(0);

  const kindOf = (index: number) =>
    (['create', 'retrieve', 'items', 'foreign', 'invalid', 'unauthorized', 'create', 'items'] as const)[index % 8];
  const answers = await all(CONCURRENCY, (index) => {
    const kind = kindOf(index);
    const tenant = tenantOf(kind === 'foreign' ? index + 1 : index);
    if (kind === 'create') return create(index, tenant, { 'Idempotency-Key': `key-${index}` });
    const event = makeHttpEvent({
      requestId: `r${index}`,
      route:
        kind === 'items'
          ? 'GET /v1/conversations/{id}/items'
          : `${kind === 'invalid' ? 'POST' : 'GET'} /v1/conversations/{id}`,
      pathParameters: { id: ids[index] },
      ...(kind === 'unauthorized' ? {} : { tenant }),
      ...(kind === 'invalid' ? { body: { metadata: index } } : {}),
    });
    return callHttp(sessions, event, makeContext());
  });

  const statuses = { create: 200, retrieve: 200, items: 200, foreign: 404, invalid: 400, unauthorized: 401 };
  const tenantOfRequest = (index: number) => tenantOf(kindOf(index) === 'foreign' ? index + 1 : index);
  expectOwnLines((requestId) => tenantOfRequest(numberOf(requestId)));
  for (const [index, { statusCode, headers, text }] of answers.entries()) {
    const kind = kindOf(index) ?? 'create';
    const summary = summaryOf(`r${index}`);
    expect(headers['x-request-id']).toBe(`r${index}`);
    expect({ statusCode, text }).toMatchObject({ statusCode: statuses[kind] });
    expect(summary['status']).toBe(statusCode);
    if (kind === 'unauthorized') expect(summary).not.toHaveProperty('tenant');
    else expect(summary).toMatchObject(principalOf(tenantOfRequest(index)));
    if (kind === 'items') expect(text).toContain(`item-${index}`);
    if (kind === 'create' || kind === 'retrieve') expect(JSON.parse(text).metadata).toEqual({ index: String(index) });
  }
});

it('the authorizer keeps the principals and log lines of 64 interleaved requests apart', async () => {
  const isKnown = (index: number) => index % 3 !== 2;
  const results = await all(CONCURRENCY, async (index) => {
    const key = isKnown(index) ? `sk-${tenantOf(index)}` : `sk-unknown-${index}`;
    const event = { headers: { authorization: `Bearer ${key}` }, methodArn: 'arn:aws:execute-api:r:a:api/v1/GET/x' };
    return Object(await authorize(event, makeContext(60_000, `r${index}`)));
  });
  for (const [index, { policyDocument, context }] of results.entries()) {
    const known = isKnown(index);
    expect(policyDocument.Statement[0].Effect).toBe(known ? 'Allow' : 'Deny');
    expect(context?.tenant).toBe(known ? tenantOf(index) : undefined);
    expect(linesOf(`r${index}`)).toMatchObject(known ? [] : [{ message: 'denied', reason: 'unknown key' }]);
  }
});
