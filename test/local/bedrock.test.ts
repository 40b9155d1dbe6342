import { connect } from 'node:net';
import { BedrockRuntimeClient, ConverseCommand, ConverseStreamCommand } from '@aws-sdk/client-bedrock-runtime';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Frame, Responder } from '../../local/bedrock/frames.ts';
import { type BedrockStandIn, startBedrock } from '../../local/bedrock/server.ts';

const event = (content: Extract<Frame, { type: 'event' }>['event']): Frame => ({ type: 'event', event: content });

const hello: Responder = async function* () {
  yield event({ messageStart: { role: 'assistant' } });
  yield event({ contentBlockDelta: { contentBlockIndex: 0, delta: { text: 'Hel' } } });
  yield event({ contentBlockDelta: { contentBlockIndex: 0, delta: { text: 'lo ✨' } } });
  yield event({ contentBlockStop: { contentBlockIndex: 0 } });
  yield event({ messageStop: { stopReason: 'end_turn' } });
  yield event({ metadata: { usage: { inputTokens: 1, outputTokens: 2, totalTokens: 3 }, metrics: { latencyMs: 1 } } });
};

let server: BedrockStandIn;
beforeAll(async () => {
  server = await startBedrock({ respond: hello });
});
afterAll(() => server.close());

const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const messages = [{ role: 'user' as const, content: [{ text: 'Hi' }] }];

describe.each([
  ["the SDK's own HTTP/2", {}],
  ['HTTP/1.1', { requestHandler: new NodeHttpHandler() }],
])('the Bedrock stand-in over %s', (_protocol, options) => {
  const newClient = (): BedrockRuntimeClient =>
    new BedrockRuntimeClient({ region: 'eu-west-1', endpoint: server.url, credentials, maxAttempts: 1, ...options });

  it('the Bedrock stand-in answers streamed and buffered calls with the same text', async () => {
    const client = newClient();
    const streamed = await client.send(new ConverseStreamCommand({ modelId: 'a/b:c', messages }));
    const deltas: string[] = [];
    for await (const { contentBlockDelta } of streamed.stream ?? []) deltas.push(contentBlockDelta?.delta?.text ?? '');
    const whole = await client.send(new ConverseCommand({ modelId: 'a/b:c', messages }));
    expect(deltas.join('')).toBe('Hello ✨');
    expect(whole.output?.message?.content).toEqual([{ text: 'Hello ✨' }]);
    expect(whole.usage).toEqual({ inputTokens: 1, outputTokens: 2, totalTokens: 3 });
    client.destroy();
  });

  it('the Bedrock stand-in refuses an invalid request with a ValidationException', async () => {
    const client = newClient();
    const command = new ConverseStreamCommand({ modelId: 'm', messages: [{ role: 'user', content: [{ text: ' ' }] }] });
    await expect(client.send(command)).rejects.toMatchObject({
      name: 'ValidationException',
      message: expect.stringContaining('messages.0.content.0 is blank'),
    });
    client.destroy();
  });
});

describe('requests that the stand-in refuses as Bedrock does', () => {
  const post = async (body: unknown): Promise<{ status: number; type: string | null; message: string }> => {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const response = await fetch(`${server.url}/model/m/converse`, { method: 'POST', body: text });
    const type = response.headers.get('x-amzn-errortype');
    const json: unknown = await response.json();
    const message = typeof json === 'object' && json && 'message' in json ? String(json.message) : '';
    return { status: response.status, type: type?.split(':')[0] ?? null, message };
  };
  const user = { role: 'user', content: [{ text: 'Hi' }] };
  const assistant = { role: 'assistant', content: [{ text: 'Hi' }] };
  const toolUse = { role: 'assistant', content: [{ toolUse: { toolUseId: 'a', name: 'x', input: {} } }] };
  const toolResult = (toolUseId: string) => ({ role: 'user', content: [{ toolResult: { toolUseId, content: [] } }] });
  const toolConfig = { tools: [{ toolSpec: { name: 'x', inputSchema: { json: { type: 'object' } } } }] };

  it.each([
    ['no messages', { messages: [] }, 'at least one message'],
    [
      'a conversation that begins with an assistant message',
      { messages: [assistant] },
      'must start with a user message',
    ],
    ['two messages of the same role in a row', { messages: [user, assistant, assistant] }, 'roles must alternate'],
    ['an empty message', { messages: [{ role: 'user', content: [] }] }, 'is empty'],
    ['a blank system prompt', { messages: [user], system: [{ text: '' }] }, 'system.0 is blank'],
    ['tool blocks without tools', { messages: [user, toolUse, toolResult('a')] }, 'toolConfig field must be defined'],
    ['a call without its result', { messages: [user, toolUse, user], toolConfig }, 'Expected toolResult blocks'],
    ['a result without its call', { messages: [user, toolUse, toolResult('b')], toolConfig }, 'exceeds the number'],
    ['a limit of 0 tokens', { messages: [user], inferenceConfig: { maxTokens: 0 } }, 'inferenceConfig.maxTokens'],
    ['a temperature of 2', { messages: [user], inferenceConfig: { temperature: 2 } }, 'temperature'],
    [
      'a tool name with a dot',
      { messages: [user], toolConfig: { tools: [{ toolSpec: { ...toolConfig.tools[0]?.toolSpec, name: 'a.b' } }] } },
      'regular expression',
    ],
    ['a body that is not JSON', '{', 'not valid JSON'],
  ])('the Bedrock stand-in refuses %s', async (_case, body, reason) => {
    expect(await post(body)).toEqual({
      status: 400,
      type: 'ValidationException',
      message: expect.stringContaining(reason),
    });
  });

  it('the Bedrock stand-in refuses a request to an unknown path', async () => {
    const response = await fetch(`${server.url}/model/m/unknown`, { method: 'POST', body: '{}' });
    expect([response.status, response.headers.get('x-amzn-errortype')]).toEqual([
      404,
      expect.stringContaining('UnknownOperation'),
    ]);
  });
});

it('closing the Bedrock stand-in ends running answers and idle connections', async () => {
  const slow = await startBedrock({
    respond: async function* () {
      yield event({ messageStart: { role: 'assistant' } });
      yield { type: 'pause', ms: 60_000 };
    },
  });
  const idle = connect(Number(new URL(slow.url).port), '127.0.0.1');
  const body = JSON.stringify({ messages });
  const response = await fetch(`${slow.url}/model/m/converse-stream`, { method: 'POST', body });
  await slow.close();
  await expect(response.arrayBuffer()).rejects.toThrow();
  expect(idle.destroyed || (await new Promise((resolve) => idle.once('close', () => resolve(true))))).toBe(true);
});

it('starting the Bedrock stand-in on a port in use fails', async () => {
  const port = Number(new URL(server.url).port);
  await expect(startBedrock({ respond: hello, port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
});
