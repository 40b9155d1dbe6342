import { createSecretKey } from 'node:crypto';
import { expect, it } from 'vitest';
import type { PersonalDataRules } from '../../../../shared/access/personal-data.ts';
import type { GenerationEvent, GenerationRequest, Message } from '../../../../shared/inference/generation.ts';
import { getDetector } from '../../../../shared/safety/personal/detectors.ts';
import { type FindNames, type MaskingPorts, maskRequest } from '../../../../shared/safety/personal/mask-request.ts';
import { restoreAnswer } from '../../../../shared/safety/personal/restore-answer.ts';
import { combineRules } from '../../../../shared/safety/personal/rules.ts';
import { makeRequest } from '../../inference/requests.ts';

const KEY = createSecretKey(Buffer.alloc(32, 1));

async function mask(
  request: Partial<GenerationRequest>,
  personalData: PersonalDataRules = { all: 'mask' },
  ports: Partial<MaskingPorts> = {},
) {
  const rules = combineRules({ project: { personalData } });
  if (rules === undefined) throw new Error('The rules ask for nothing');
  const detect = await getDetector(rules);
  return maskRequest(makeRequest(request), rules, { detect, openKey: async () => KEY, ...ports });
}

const rules: PersonalDataRules = { all: 'mask', kinds: { name: 'mask' } };

const say = (text: string): Message => ({ role: 'user', content: [{ type: 'text', text }] });
const getText = ({ messages }: GenerationRequest, index = 0) => {
  const part = messages[index]?.content[0];
  return part !== undefined && 'text' in part ? part.text : '';
};

it('a value has the same placeholder wherever and whenever it is, and another one has another', async () => {
  const first = await mask({ messages: [say('a@example.com, b@example.com')] });
  const second = await mask({ messages: [say('hello'), say('b@example.com')], stop: ['a@example.com'] });
  const [a, b] = getText(first.request).split(', ');
  expect(a).not.toBe(b);
  expect(getText(second.request, 1)).toBe(b);
  expect(second.request.stop).toEqual([a]);
});

it('another key makes other placeholders', async () => {
  const request = { messages: [say('a@example.com')] };
  const other = createSecretKey(Buffer.alloc(32, 2));
  const masked = await mask(request, { all: 'mask' }, { openKey: async () => other });
  expect(getText(masked.request)).not.toBe(getText((await mask(request)).request));
});

it('text of the caller that looks like a placeholder is never restored', async () => {
  const [placeholder = ''] = (await mask({ messages: [say('a@example.com')] })).values.keys();
  const { values, request } = await mask({ messages: [say(`${placeholder} a@example.com`)] });
  expect(values.has(placeholder)).toBe(false);
  expect(getText(request)).toMatch(new RegExp(`^${placeholder} EMAIL-[a-z2-7]{8}$`));
});

it('text of the caller is not restored where a placeholder is a part of it', async () => {
  const [placeholder = ''] = (await mask({ messages: [say('a@example.com')] })).values.keys();
  const { values } = await mask({ messages: [say(`${'ACGT'.repeat(9)}${placeholder} a@example.com`)] });
  expect(values.has(placeholder)).toBe(false);
});

// Without the linear search, this takes longer than the time limit of a test run.
it('upper-case text such as a DNA sequence is searched for placeholders in linear time', async () => {
  const sequence = 'ACGT'.repeat(250_000);
  const { request, values } = await mask({ messages: [say(`${sequence} a@example.com`)] });
  expect(getText(request)).toMatch(/T EMAIL-[a-z2-7]{8}$/);
  expect(values.size).toBe(1);
});

it('numbers in the arguments of a tool call become strings, and everything else stays as it is', async () => {
  const content = [
    { type: 'toolCall' as const, id: 'call_1', name: 'dial', arguments: '{ "phone" : 13812345678, "n": 1.50 }' },
  ];
  const { request } = await mask({ messages: [{ role: 'assistant', content }] });
  expect(request.messages[0]?.content[0]).toMatchObject({
    arguments: expect.stringMatching(/^\{ "phone" : "PHONE-[a-z2-7]{8}", "n": 1\.50 \}$/),
  });
});

it('the strings of a result in escaped JSON are masked and given to the guardrail as the texts that they stand for', async () => {
  const given: string[] = [];
  const findNames: FindNames = async (texts) => {
    given.push(...texts);
    return [{ kind: 'name', value: '张三' }];
  };
  const result = {
    role: 'tool',
    toolCallId: 'a',
    content: [{ type: 'text', text: '{"n": "\\u5f20\\u4e09 a@example.com"}' }],
  };
  const rules: PersonalDataRules = { all: 'mask', kinds: { name: 'mask' }, guardrail: 'people' };
  const { request, values } = await mask({ messages: [result as Message] }, rules, { findNames });
  expect(given).toEqual(['张三 [EMAIL]']);
  expect(getText(request)).toMatch(/^\{"n": "NAME-[a-z2-7]{8} EMAIL-[a-z2-7]{8}"\}$/);
  expect([...values.values()]).toEqual(['张三', 'a@example.com']);
});

it('a value with escapes in a result in JSON is restored as the text that it stands for', async () => {
  const key = '-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nabc=\n-----END PRIVATE KEY-----';
  const json = `{ "a" : "x\\ty", "key": ${JSON.stringify(key)} , "n": 1.50 }`;
  const result: Message = { role: 'tool', toolCallId: 'a', content: [{ type: 'text', text: json }] };
  const { request, values } = await mask({ messages: [result, say(key), say(`See ${JSON.stringify(key)}`)] });
  const [placeholder = '', other = ''] = values.keys();
  expect(getText(request)).toBe(`{ "a" : "x\\ty", "key": "${placeholder}" , "n": 1.50 }`);
  expect(getText(request, 1)).toBe(placeholder);
  expect(values.get(placeholder)).toBe(key);
  // This text isn't JSON, so what its backslashes mean is unknown.
  expect(values.get(other)).toBe(JSON.stringify(key).slice(1, -1));

  async function* call(): AsyncGenerator<GenerationEvent> {
    yield { type: 'toolArguments', index: 0, fragment: JSON.stringify({ pem: placeholder }) };
  }
  for await (const event of restoreAnswer(call(), values, 'text'))
    expect(event).toMatchObject({ fragment: JSON.stringify({ pem: key }) });
});

it('a secret in a field of JSON is found by the name of the field', async () => {
  const content = [
    {
      type: 'toolCall' as const,
      id: 'call_1',
      name: 'login',
      arguments: '{"password":"Tr0ub4dor","user":"Tr0ub4dor"}',
    },
  ];
  const { request } = await mask({ messages: [{ role: 'assistant', content }] });
  expect(request.messages[0]?.content[0]).toMatchObject({
    arguments: expect.stringMatching(/^\{"password":"CREDENTIAL-[a-z2-7]{8}","user":"Tr0ub4dor"\}$/),
  });
});

it('names and ids keep different placeholders even if their values are redacted', async () => {
  const { request } = await mask({ messages: [say('13812345678')], hints: { user: '13812345678' } }, { all: 'redact' });
  expect(getText(request)).toBe('[REDACTED PHONE]');
  expect(request.hints.user).toMatch(/^PHONE-[a-z2-7]{8}$/);
});

it('the names of fields that are passed on are masked, and no refusal repeats them', async () => {
  const unknown = { 'bob@example.com': { 'amy@example.com': 1 }, extra: 'eve@example.com' };
  const { request, values } = await mask({ unknown });
  const [bob, amy, eve] = values.keys();
  expect([...values.values()]).toEqual(['bob@example.com', 'amy@example.com', 'eve@example.com']);
  expect(request.unknown).toEqual({ [bob ?? '']: { [amy ?? '']: 1 }, extra: eve });

  const refuse = (each: Record<string, unknown>) => mask({ unknown: each }, { all: 'refuse' });
  await expect(refuse({ 'bob@example.com': 1 })).rejects.toMatchObject({
    code: 'content_filter',
    param: 'body',
    message: "The policy of this project refuses 'body': it contains personal data (email).",
  });
  await expect(refuse({ extra: 'eve@example.com' })).rejects.toMatchObject({ param: 'extra' });
});

it('bounds in schemas are no personal data', async () => {
  const parameters = {
    properties: { n: { type: 'integer', maximum: 13812345678, minLength: 1, enum: [13812345678] } },
  };
  const { request } = await mask({ tools: [{ name: 'count', parameters, strict: false }] });
  expect(request.tools[0]?.parameters).toMatchObject({
    properties: { n: { maximum: 13812345678, minLength: 1, enum: [expect.stringMatching(/^PHONE-/)] } },
  });
});

const nest = (levels: number): Record<string, unknown> => {
  let value: Record<string, unknown> = { default: 'a@example.com' };
  for (let level = 1; level < levels; level++) value = { items: value };
  return value;
};
const useTool = (parameters: Record<string, unknown>) =>
  mask({ tools: [{ name: 'count', parameters, strict: false }] });

it('a value is masked at each depth that the body of a request may have', async () => {
  const { request, values } = await useTool(nest(256));
  expect(JSON.stringify(request.tools)).toContain([...values.keys()].join());
  expect([...values.values()]).toEqual(['a@example.com']);
});

it('a value that is too deep to be searched is an error of the caller, which names the parameter', async () => {
  await expect(useTool(nest(10_000))).rejects.toMatchObject({ code: 'invalid_value', param: 'tools' });
});

it('a request is sent translated even if it has no values, and no key is derived for it', async () => {
  const original = { protocol: 'chat' as const, body: { messages: [] }, ignored: [] };
  const openKey = () => Promise.reject(new Error('not needed'));
  const { request, values } = await mask({ messages: [say('hello')], original }, { all: 'mask' }, { openKey });
  expect(request).not.toHaveProperty('original');
  expect(values.size).toBe(0);
});

it('images and PDF documents are refused unless the policy lets them pass', async () => {
  const pdf = { type: 'document', mediaType: 'application/pdf', base64: 'JVBERi0=', param: 'messages[0]' } as const;
  const image = { type: 'image', mediaType: 'image/png', base64: 'iVBO', param: 'messages[0]' } as const;
  for (const part of [pdf, image]) {
    const messages: Message[] = [{ role: 'user', content: [part] }];
    await expect(mask({ messages })).rejects.toMatchObject({ code: 'content_filter', param: 'messages[0]' });
    expect((await mask({ messages }, { all: 'mask', unsearchable: 'pass' })).request.messages).toEqual(messages);
  }
});

it('a request is refused if the detector fails', async () => {
  const detect = () => {
    throw new TypeError('broken');
  };
  await expect(mask({ messages: [say('hello')] }, { all: 'mask' }, { detect })).rejects.toThrow('broken');
});

it('a request with a field that can not be searched is refused', async () => {
  const unknown = { newField: 'a@example.com' } as Partial<GenerationRequest>;
  await expect(mask(unknown)).rejects.toThrow('newField');
});

it('a record of reasoning with a value is left out, because its signature would not match', async () => {
  const signature = Buffer.alloc(96, 'password: hunter2').toString('base64');
  const continuations = ['about a@example.com', 'about nothing'].map((text) => ({
    provider: 'bedrock',
    data: { text, signature },
  }));
  const content = continuations.map((continuation) => ({
    type: 'reasoning' as const,
    text: 'about a@example.com',
    continuation,
  }));
  const { request } = await mask({ messages: [{ role: 'assistant', content }] });
  const masked = { type: 'reasoning', text: expect.stringMatching(/^about EMAIL-/) };
  expect(request.messages[0]?.content).toEqual([masked, { ...masked, continuation: continuations[1] }]);
});

const OPAQUE = Buffer.alloc(96, 'bob@example.com').toString('base64');
const SECRET = `sk-proj-${'aB3dE5fG7hJ9kL1mN'.repeat(5)}`;

/** Returns an earlier turn of which the caller gives back the upstream's signature. */
const callTool = (signature: string): Message[] => [
  { role: 'assistant', content: [{ type: 'toolCall', id: 'call_1', name: 'look', arguments: '{}', signature }] },
];

it.each(['bob@example.com, +44 20 7946 0958', SECRET, `${OPAQUE.slice(0, 64)}/${SECRET}`])(
  'the signature of a tool call is not sent if it has a value: %s',
  async (signature) => {
    const { request } = await mask({ messages: callTool(signature) });
    expect(request.messages).toEqual([
      { role: 'assistant', content: [{ type: 'toolCall', id: 'call_1', name: 'look', arguments: '{}' }] },
    ]);
    await expect(mask({ messages: callTool(signature) }, { all: 'refuse' })).rejects.toMatchObject({
      code: 'content_filter',
      param: 'messages',
    });
  },
);

it('a true signature of a tool call is sent as it is, although patterns match in it by chance', async () => {
  const patterns = [{ name: 'LETTER', pattern: '[A-Za-z]', action: 'mask' as const }];
  const { request } = await mask({ messages: callTool(OPAQUE), stop: ['x'] }, { all: 'mask', patterns });
  expect(request.messages[0]?.content[0]).toMatchObject({ signature: OPAQUE });
  expect(request.stop[0]).toMatch(/^LETTER-/);
});

it('keys are masked in all fields of the records of reasoning that a caller gives, and opaque fields are sent', async () => {
  const details = [
    { type: 'reasoning.text', text: 'mail bob@example.com', content: SECRET, signature: OPAQUE },
    { type: 'reasoning.encrypted', data: SECRET, encrypted_content: OPAQUE },
    { data: 'bob@example.com' },
  ];
  const messages: Message[] = [{ role: 'assistant', content: [{ type: 'reasoning', text: '', details }] }];
  const { request, values } = await mask({ messages });
  const [email, key] = values.keys();
  expect([...values.values()]).toEqual(['bob@example.com', SECRET]);
  expect(request.messages[0]?.content[0]).toMatchObject({
    details: [
      { type: 'reasoning.text', text: `mail ${email}`, content: key, signature: OPAQUE },
      { type: 'reasoning.encrypted', data: key, encrypted_content: OPAQUE },
      { data: email },
    ],
  });
});

it('only the fields for it may be opaque in the records of reasoning that a caller gives', async () => {
  const digits = `13812345678${'-'.repeat(60)}`;
  const details = [{ content: digits, signature: digits }];
  const { request } = await mask({
    messages: [{ role: 'assistant', content: [{ type: 'reasoning', text: '', details }] }],
  });
  expect(request.messages[0]?.content[0]).toMatchObject({
    details: [{ content: expect.stringMatching(/^PHONE-/), signature: digits }],
  });
});

it('names in values of the field `name` are found, although the same text is a name elsewhere', async () => {
  const findNames: FindNames = async (texts) => (texts.includes('Anna \n') ? [{ kind: 'name', value: 'Anna' }] : []);
  const { request } = await mask({ hints: { user: 'Anna \n' }, unknown: { extra: { name: 'Anna \n' } } }, rules, {
    findNames,
  });
  expect(request.unknown).toEqual({ extra: { name: expect.stringMatching(/^NAME-[a-z2-7]{8} \n$/) } });
});

const think = (text: string): Message => ({
  role: 'assistant',
  content: [
    { type: 'reasoning', text, continuation: { provider: 'bedrock', data: { text, signature: 'x'.repeat(80) } } },
  ],
});

it.each([
  (placeholder: string) => `The user's password is ${placeholder}.`,
  (placeholder: string) => `**password:** **${placeholder}**, or password=${placeholder}/${placeholder}`,
  (placeholder: string) => `I call login with {"password":"${placeholder}"}`,
])('placeholders in the reasoning of the model are no values: %s', async (write) => {
  const user = say('password: Tr0ub4dor&3x, mail a@example.com');
  const first = await mask({ messages: [user] });
  for (const placeholder of first.values.keys()) {
    const reasoning = think(write(placeholder));
    const { request, values } = await mask({ messages: [user, reasoning] });
    expect(request.messages[1]).toEqual(reasoning);
    expect(values).toEqual(first.values);
    const refused = mask({ messages: [reasoning] }, { all: 'mask', kinds: { credential: 'refuse' } });
    await expect(refused).resolves.toMatchObject({ request: { messages: [reasoning] } });
  }
});

it('what looks like a placeholder in a text of the caller is still searched, also if the model has written the same', async () => {
  const text = 'password: EMAIL-abcdefg2';
  const { request } = await mask({ messages: [think(text), say(text)] });
  expect(request.messages[0]).toEqual(think(text));
  expect(getText(request, 1)).toMatch(/^password: CREDENTIAL-[a-z2-7]{8}$/);
});

it('a guardrail gets no placeholders of the reasoning of the model, and nothing is replaced in them', async () => {
  const given: string[] = [];
  const findNames: FindNames = async (texts) => {
    given.push(...texts);
    return [{ kind: 'name', value: 'NAME' }];
  };
  const reasoning = think('NAME-abcdefg2 asks');
  const { request } = await mask({ messages: [reasoning, say('I am NAME')] }, rules, { findNames });
  expect(given).toEqual(['[NAME] asks', 'I am NAME']);
  expect(request.messages[0]).toEqual(reasoning);
  expect(getText(request, 1)).toMatch(/^I am NAME-[a-z2-7]{8}$/);
});

it('names that a guardrail finds are replaced wherever they are, and it gets no other value', async () => {
  const searched: string[] = [];
  const findNames: FindNames = async (texts) => {
    searched.push(...texts);
    return [{ kind: 'name', value: 'Anna' }];
  };
  const { request, values } = await mask({ messages: [say('Anna: anna@example.com. Anna?')] }, rules, { findNames });
  expect(searched).toEqual(['Anna: [EMAIL]. Anna?']);
  expect(getText(request)).toMatch(/^(NAME-[a-z2-7]{8}): EMAIL-[a-z2-7]{8}\. \1\?$/);
  expect([...values.values()].sort()).toEqual(['Anna', 'anna@example.com']);
});

it('an address around a value that was replaced before, and one that overlaps a name, are replaced whole', async () => {
  const findNames: FindNames = async () => [
    { kind: 'name', value: 'Anna Park' },
    { kind: 'address', value: 'Park Lane 7, [PHONE], London' },
  ];
  const all: PersonalDataRules = { all: 'redact', kinds: { name: 'redact', address: 'redact' } };
  const messages = [say('Anna Park Lane 7, +44 20 7946 0958, London'), say('Anna Park')];
  const { request } = await mask({ messages }, all, { findNames });
  expect(getText(request)).toBe('[REDACTED NAME] [REDACTED PHONE][REDACTED ADDRESS]');
  expect(getText(request, 1)).toBe('[REDACTED NAME]');
});

it("a caller's own text in brackets is a part of the name around it, and a label of a value is not", async () => {
  const given: string[] = [];
  const findNames: FindNames = async (texts) => {
    given.push(...texts);
    return [
      { kind: 'name', value: 'Anna [SMITH] Doe' },
      { kind: 'name', value: 'Bob [EMAIL] Roe' },
      { kind: 'name', value: 'PHONE], Zed' },
    ];
  };
  const messages = [
    say('From: Anna [SMITH] Doe'),
    say('Bob [EMAIL] Roe, Bob b@example.com Roe'),
    say('+44 20 7946 0958, Zed'),
  ];
  const { request, values } = await mask({ messages }, rules, { findNames });
  expect(given[1]).toBe('Bob [EMAIL] Roe, Bob [EMAIL] Roe');
  expect(getText(request)).toMatch(/^From: NAME-[a-z2-7]{8}$/);
  expect(getText(request, 1)).toMatch(/^(NAME-\w{8}), (NAME-\w{8}) EMAIL-\w{8} (NAME-\w{8})$/);
  expect(getText(request, 2)).toMatch(/^PHONE-[a-z2-7]{8}NAME-[a-z2-7]{8}$/);
  expect([...values.values()].sort()).toEqual(
    ['Anna [SMITH] Doe', 'Bob [EMAIL] Roe', 'Bob', 'b@example.com', 'Roe', '+44 20 7946 0958', ', Zed'].sort(),
  );
});

const reportNames =
  (...values: string[]): FindNames =>
  async () =>
    values.map((value) => ({ kind: 'name', value }));

it('a name is replaced as a whole word, not within other words or in the keywords of a schema', async () => {
  const parameters = {
    type: 'object',
    properties: {
      total: { type: ['array', 'null'], description: 'The array of ray', items: { enum: ['ray', 'string'] } },
      ray: { type: 'string', format: 'string', default: { type: 'ray' }, $ref: '#/$defs/ray' },
    },
    required: ['total', 'ray'],
  };
  const messages = [say('I am ray, he is Will, ed used to start Willing')];
  const tools = [{ name: 'count', parameters, strict: false }];
  const format = { type: 'jsonSchema', name: 'answer', schema: parameters, strict: false } as const;
  const findNames = reportNames('ray', 'Will', 'ed', 'art', 'string');
  const { request, values } = await mask({ messages: [...messages, say('Bart')], tools, format }, rules, { findNames });
  const placeholders = new Map([...values].map(([placeholder, value]) => [value, placeholder]));
  const [ray = '', will = '', ed = '', art = '', string = ''] = ['ray', 'Will', 'ed', 'art', 'string'].map((value) =>
    placeholders.get(value),
  );
  // Nowhere is `art` a whole word, so parts of words are replaced.
  expect(getText(request)).toBe(`I am ${ray}, he is ${will}, ${ed} used to st${art} Willing`);
  expect(getText(request, 1)).toBe(`B${art}`);
  const masked = {
    ...parameters,
    properties: {
      total: { type: ['array', 'null'], description: `The array of ${ray}`, items: { enum: [ray, string] } },
      ray: { ...parameters.properties.ray, default: { type: ray } },
    },
  };
  expect(request.tools[0]?.parameters).toEqual(masked);
  expect(request.format).toMatchObject({ schema: masked });
});

it.each([
  ['Annaさん、Anna', 'Anna'],
  ['我叫张三今年，张三', '张三'],
  ['김철수 김철수는', '김철수'],
  ['Иван и Ивана', 'Иван'],
  ['{"a":"Hi,\\nAnna"} Anna', 'Anna'],
  ['?a=Bob%20Anna&b=Anna_Lee', 'Anna'],
  ['AnnaE-12345 Anna', 'Anna'],
])('a name is replaced where a script, an escape or another value is beside it: %s', async (text, name) => {
  const patterns = [{ name: 'STAFF', pattern: 'E-\\d{5}', action: 'mask' as const }];
  const { request } = await mask({ messages: [say(text)] }, { ...rules, patterns }, { findNames: reportNames(name) });
  expect(getText(request)).not.toContain(name);
});

it('a word with an accent is another word', async () => {
  const messages = [say('Ana, ana\u0301lisis, Ana\u0301s')];
  const { request } = await mask({ messages }, rules, { findNames: reportNames('Ana') });
  expect(getText(request)).toMatch(/^NAME-[a-z2-7]{8}, ana\u0301lisis, Ana\u0301s$/);
});

it('names are refused without a guardrail, and if what it has found is in no text', async () => {
  const request = { messages: [say('Anna')] };
  await expect(mask(request, rules)).rejects.toMatchObject({ code: 'configuration' });
  const findNames: FindNames = async () => [{ kind: 'name', value: 'anna' }];
  await expect(mask(request, rules, { findNames })).rejects.toMatchObject({ code: 'guardrail_unavailable' });
});
