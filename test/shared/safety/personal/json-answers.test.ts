import { afterAll, beforeAll, expect, it } from 'vitest';
import { replyAsChatModel } from '../../../upstreams/chat-model.ts';
import { startUpstream, type Upstream } from '../../../upstreams/openai-upstream.ts';
import { createGovernedApi } from './governed-api.ts';

let upstream: Upstream;
beforeAll(async () => {
  // The model returns the last message as JSON.
  upstream = await startUpstream(({ body }) => {
    const { messages } = body as { readonly messages: readonly { readonly content: unknown }[] };
    const said = String(messages.at(-1)?.content);
    return replyAsChatModel(body, { answer: () => ({ text: JSON.stringify({ said }) }) });
  });
});
afterAll(() => upstream.close());

const KEY = '-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----';
const PASSWORD = 'password: "Tr0ub\\"4dor\\\\"';
const messages = [{ role: 'user', content: `${KEY} and ${PASSWORD}` }];
const schema = {
  type: 'object',
  properties: { said: { type: 'string' } },
  required: ['said'],
  additionalProperties: false,
};
const model = 'default';

const CASES = [
  ['chat', { model, messages, response_format: { type: 'json_object' } }],
  [
    'chat',
    { model, messages, response_format: { type: 'json_schema', json_schema: { name: 'a', schema, strict: true } } },
  ],
  ['responses', { model, store: false, input: messages, text: { format: { type: 'json_object' } } }],
  ['responses', { model, store: false, input: messages, text: { format: { type: 'json_schema', name: 'a', schema } } }],
  ['messages', { model, max_tokens: 500, messages, output_config: { format: { type: 'json_schema', schema } } }],
] as const;

/** Returns the text of a buffered answer of any API. */
function readText(answer: string): string {
  const { choices, output, content } = JSON.parse(answer);
  return choices?.[0].message.content ?? output?.[0].content[0].text ?? content[0].text;
}

/** Returns the text of a streamed answer of any API. */
function joinDeltas(frames: string): string {
  const events = [...frames.matchAll(/^data: (\{.*)$/gm)].map(([, json = '']) => JSON.parse(json));
  return events
    .map(({ type, choices, delta }) =>
      type === undefined ? (choices[0]?.delta.content ?? '') : typeof delta === 'string' ? delta : (delta?.text ?? ''),
    )
    .join('');
}

it.each(CASES)('an answer of %s in JSON is valid with values of several lines in it: %j', async (route, body) => {
  const api = createGovernedApi(upstream.baseUrl, { project: { personalData: { all: 'mask' } } });
  const expected = { said: messages[0]?.content };
  const { text } = await api.call(route, body);
  expect(upstream.requests.at(-1)?.text).not.toContain('PRIVATE KEY');
  expect(JSON.parse(readText(text))).toEqual(expected);
  const stream = await api.call(route, { ...body, stream: true });
  expect(JSON.parse(joinDeltas(stream.text))).toEqual(expected);
});
