import { PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { ReceivedRequest } from '../upstreams/openai-upstream.ts';
import { waitUntil } from '../wait.ts';
import {
  answerByInstruction,
  type Behavior,
  CONCURRENCY,
  createGate,
  findMetrics,
  getInputTokens,
  getModel,
  getTenant,
  type HttpResult,
  type LogLine,
  makeHttpEvent,
  makeKeyItem,
  makeText,
  TENANTS,
} from './concurrency.ts';
import { getFunctionName, type PackagedFunctions, startPackagedFunctions } from './packaged-functions.ts';
import { startTestEnvironment, type TestEnvironment } from './test-environment.ts';

/** Milliseconds before the function's timeout at which an HTTP request is aborted. */
const MARGIN_MS = 1_500;
/** Milliseconds after which hanging requests are aborted: enough to reach the upstream, even on a busy machine. */
const UNTIL_ABORT_MS = 5_000;
/** Remaining time of a function that streams a new job, of which only the first frame is needed. */
const CREATE_MS = MARGIN_MS + 8_000;
/** Remaining time of a function that follows a running job's stream. */
const FOLLOW_MS = MARGIN_MS + 3_000;

let testEnvironment: TestEnvironment;
let functions: PackagedFunctions;
let lines: LogLine[];
let passGate: (request: ReceivedRequest) => Promise<void> = async () => {};

beforeAll(async () => {
  testEnvironment = await startTestEnvironment(
    async (request) => {
      await passGate(request);
      return answerByInstruction(request);
    },
    { aliases: TENANTS.map(getModel) },
  );
  const { dynamodb } = testEnvironment.services;
  for (const tenant of TENANTS) {
    await dynamodb.send(new PutItemCommand({ TableName: 'access', Item: makeKeyItem(tenant, ['generate']) }));
  }
  functions = await startPackagedFunctions(['chat', 'responses', 'sessions', 'authorize'], {
    ...testEnvironment.variables,
    LOG_LEVEL: 'info',
  });
  lines = functions.lines;
});
afterAll(async () => {
  await functions[Symbol.asyncDispose]();
  await testEnvironment[Symbol.asyncDispose]();
});
beforeEach(() => {
  lines.splice(0);
  passGate = async () => {};
});

/** Starts `count` calls at once and awaits them all. */
const runConcurrently = <T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => make(index)));

/** Asserts that each log line has the id of a request, and no other tenant than that request's. */
function expectOwnLines(getTenantOfRequest: (requestId: string) => string | undefined): void {
  for (const line of lines.filter(({ message }) => message !== undefined)) {
    expect(line['requestId']).toMatch(/^r\d+$/);
    if (line['tenant'] !== undefined)
      expect(line).toMatchObject(makePrincipalFields(getTenantOfRequest(`${line['requestId']}`)));
  }
}

const makePrincipalFields = (tenant: string | undefined) => ({ tenant, keyId: `${tenant}-key` });
const findLines = (requestId: string) => lines.filter((line) => line['requestId'] === requestId);

/** Returns the only log line of a request that carries metrics. */
function findSummary(requestId: string): LogLine {
  const summaries = findLines(requestId).filter(({ _aws }) => _aws !== undefined);
  expect(summaries).toHaveLength(1);
  expect(summaries[0]).toMatchObject({ message: 'request', FirstByteMs: expect.any(Number) });
  return summaries[0] ?? {};
}

const parseIndex = (requestId: string): number => Number(requestId.slice(1));

it('the chat function keeps the logs, metrics, headers and aborts of 64 interleaved requests apart', async () => {
  // One request in eight has no principal, and two in eight hang until their deadline. The upstream answers the others
  // when it has received them all and the hanging ones have been aborted.
  const getBehavior = (index: number): Behavior | 'unauthorized' =>
    (['answer', 'answer', 'fail', 'hang', 'answer', 'hangLater', 'answer', 'unauthorized'] as const)[index % 8] ??
    'answer';
  const streamed = (index: number) => index % 16 >= 4;
  const route = (index: number) => (index % 3 === 1 ? 'POST /v1/responses' : 'POST /v1/chat/completions');
  const openGate = createGate(CONCURRENCY - 3 * (CONCURRENCY / 8));
  const isAborted = (index: number) => getBehavior(index).startsWith('hang');
  const calls = Array.from({ length: CONCURRENCY }, (_, index) => {
    const behavior = getBehavior(index);
    const text = makeText(index, behavior === 'unauthorized' ? 'answer' : behavior);
    const tenant = getTenant(index);
    const body = {
      model: getModel(tenant),
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
    return functions.callHttp('chat', event, isAborted(index) ? { remainingMs: MARGIN_MS + UNTIL_ABORT_MS } : {});
  });
  const aborts = Promise.all(calls.filter((_, index) => isAborted(index)));
  passGate = async ({ text }) => {
    if (text.includes('please hang')) return;
    await aborts;
    await openGate();
  };
  const answers = await Promise.all(calls);

  expectOwnLines((requestId) => getTenant(parseIndex(requestId)));
  for (const [index, answer] of answers.entries()) {
    const behavior = getBehavior(index);
    const summary = findSummary(`r${index}`);
    expect(answer.headers['x-request-id']).toBe(`r${index}`);
    expect(summary).toMatchObject({ route: route(index), status: answer.statusCode });
    if (behavior === 'unauthorized') {
      expect(answer.statusCode).toBe(401);
      expect(summary).not.toHaveProperty('tenant');
      continue;
    }
    const tenant = getTenant(index);
    expect(summary).toMatchObject(makePrincipalFields(tenant));
    const warnings = findLines(`r${index}`).filter(({ message }) => message === 'attempt failed');
    expect(warnings).toHaveLength(behavior === 'fail' ? 1 : 0);
    if (behavior === 'answer') {
      expect(answer.statusCode).toBe(200);
      expect(answer.text).toContain(`answer-${index}`);
      expect(answer.text.match(/answer-\d+/g)).not.toContainEqual(expect.not.stringMatching(`^answer-${index}$`));
      expect(summary).toMatchObject({ model: getModel(tenant), inputTokens: getInputTokens(index), whole: true });
      expect(findMetrics(summary, 'InputTokens')).toEqual([
        { FunctionName: getFunctionName('chat'), Model: getModel(tenant), InputTokens: getInputTokens(index) },
      ]);
    } else if (behavior === 'fail') {
      expect(answer.statusCode).toBe(400);
      expect(answer.text).toContain(`refused ${index}`);
      expect(warnings[0]).toMatchObject({ level: 'warn', model: getModel(tenant) });
    } else {
      // If the first frame was sent before the abort, so was the status.
      const hasBegun = answer.statusCode === 200;
      expect(hasBegun ? answer.text : answer.statusCode).toEqual(
        hasBegun ? expect.stringContaining('deadline_exceeded') : 504,
      );
    }
    if (behavior !== 'answer') expect(findMetrics(summary, 'InputTokens')).toEqual([]);
  }
  // The aborted requests, and only those, closed their connections to the upstream.
  for (const request of testEnvironment.upstream.requests) {
    expect(await request.closedEarly).toBe(/please hang/.test(request.text));
  }
});

/** Creates a response. Returns its id, which is the first one in the result. */
const createResponse = async (tenant: string, index: number, more: object = {}): Promise<string> => {
  const body = { model: getModel(tenant), input: makeText(index, 'answer'), ...more };
  const event = makeHttpEvent({ requestId: `r${index}`, route: 'POST /v1/responses', tenant, body });
  const { text } = await functions.callHttp('chat', event, 'background' in more ? { remainingMs: CREATE_MS } : {});
  return /"id":"(resp_\w+)"/.exec(text)?.[1] ?? '';
};

it('the responses function keeps the logs, metrics, headers and aborts of 64 interleaved requests apart', async () => {
  const stored: string[] = [];
  for (let index = 0; index < CONCURRENCY; index += 1) {
    stored.push(await createResponse(getTenant(index), index));
  }
  const running = await runConcurrently(8, (index) =>
    createResponse(getTenant(index), index, { background: true, stream: true }),
  );
  lines.splice(0);

  const getKind = (index: number) =>
    (['own', 'own', 'foreign', 'invalid', 'own', 'own', 'follow', 'own'] as const)[index % 8];
  const answers = await runConcurrently(CONCURRENCY, (index) => {
    const kind = getKind(index);
    const followed = Math.floor(index / 8);
    const tenant = kind === 'follow' ? getTenant(followed) : getTenant(kind === 'foreign' ? index + 1 : index);
    const id = kind === 'follow' ? (running[followed] ?? '') : (stored[index] ?? '');
    const query = kind === 'follow' ? { stream: 'true' } : kind === 'invalid' ? { stream: `maybe-${index}` } : {};
    const route = index % 4 === 1 ? 'GET /v1/responses/{id}/input_items' : 'GET /v1/responses/{id}';
    const event = makeHttpEvent({ requestId: `r${index}`, route, tenant, pathParameters: { id }, query });
    return functions
      .callHttp('responses', event, kind === 'follow' ? { remainingMs: FOLLOW_MS } : {})
      .then((answer) => ({ ...answer, tenant, id, route }));
  });

  expectOwnLines((requestId) => answers[parseIndex(requestId)]?.tenant);
  for (const [index, { statusCode, headers, text, tenant, route, id }] of answers.entries()) {
    expect(headers['x-request-id']).toBe(`r${index}`);
    expect(findSummary(`r${index}`)).toMatchObject({ ...makePrincipalFields(tenant), route, status: statusCode });
    const kind = getKind(index);
    if (kind === 'foreign') expect(statusCode).toBe(404);
    else if (kind === 'invalid') expect({ statusCode, text }).toMatchObject({ statusCode: 400 });
    else if (kind === 'follow') {
      // If the first frame was sent before the deadline, so was the status.
      expect([200, 504]).toContain(statusCode);
      expect(text).toContain('deadline_exceeded');
      if (statusCode === 200) expect(text).toContain(id);
    } else {
      expect(statusCode).toBe(200);
      expect(text).toContain(index % 4 === 1 ? makeText(index, 'answer') : id);
    }
  }
});

it('the sessions function keeps the logs, metrics and headers of 64 interleaved requests apart', async () => {
  const create = (index: number, tenant: string, headers = {}): Promise<HttpResult> => {
    const items = [{ type: 'message', role: 'user', content: `item-${index}` }];
    const event = makeHttpEvent({
      requestId: `r${index}`,
      route: 'POST /v1/conversations',
      tenant,
      headers,
      body: { metadata: { index: String(index) }, items },
    });
    return functions.callHttp('sessions', event);
  };
  const ids = (await runConcurrently(CONCURRENCY, (index) => create(index, getTenant(index)))).map(
    ({ text }) => JSON.parse(text).id,
  );
  lines.splice(0);

  const getKind = (index: number) =>
    (['create', 'retrieve', 'items', 'foreign', 'invalid', 'unauthorized', 'create', 'items'] as const)[index % 8];
  const answers = await runConcurrently(CONCURRENCY, (index) => {
    const kind = getKind(index);
    const tenant = getTenant(kind === 'foreign' ? index + 1 : index);
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
    return functions.callHttp('sessions', event);
  });

  const statuses = { create: 200, retrieve: 200, items: 200, foreign: 404, invalid: 400, unauthorized: 401 };
  const getTenantOfRequest = (index: number) => getTenant(getKind(index) === 'foreign' ? index + 1 : index);
  expectOwnLines((requestId) => getTenantOfRequest(parseIndex(requestId)));
  for (const [index, { statusCode, headers, text }] of answers.entries()) {
    const kind = getKind(index) ?? 'create';
    const summary = findSummary(`r${index}`);
    expect(headers['x-request-id']).toBe(`r${index}`);
    expect({ statusCode, text }).toMatchObject({ statusCode: statuses[kind] });
    expect(summary['status']).toBe(statusCode);
    if (kind === 'unauthorized') expect(summary).not.toHaveProperty('tenant');
    else expect(summary).toMatchObject(makePrincipalFields(getTenantOfRequest(index)));
    if (kind === 'items') expect(text).toContain(`item-${index}`);
    if (kind === 'create' || kind === 'retrieve') expect(JSON.parse(text).metadata).toEqual({ index: String(index) });
  }
});

it('the authorizer keeps the principals and log lines of 64 interleaved requests apart', async () => {
  const isKnown = (index: number) => index % 3 !== 2;
  const results = await runConcurrently(CONCURRENCY, async (index) => {
    const key = isKnown(index) ? `sk-${getTenant(index)}` : `sk-unknown-${index}`;
    const event = { headers: { authorization: `Bearer ${key}` }, methodArn: 'arn:aws:execute-api:r:a:api/v1/GET/x' };
    return Object(await functions.call('authorize', event, { requestId: `r${index}` }));
  });
  const denied = results.filter((_, index) => !isKnown(index)).length;
  // A log line may arrive later than the response.
  await waitUntil('all denials are logged', () => lines.filter(({ message }) => message === 'denied').length >= denied);
  for (const [index, { policyDocument, context }] of results.entries()) {
    const known = isKnown(index);
    expect(policyDocument.Statement[0].Effect).toBe(known ? 'Allow' : 'Deny');
    expect(context?.tenant).toBe(known ? getTenant(index) : undefined);
    expect(findLines(`r${index}`)).toMatchObject(known ? [] : [{ message: 'denied', reason: 'unknown key' }]);
  }
});
