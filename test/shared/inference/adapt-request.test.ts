import { describe, expect, it } from 'vitest';
import { adaptRequest } from '../../../shared/inference/adapt-request.ts';
import { CAPABILITIES, type Capability } from '../../../shared/inference/capabilities.ts';
import type { GenerationRequest, Message } from '../../../shared/inference/generation.ts';
import { makeRequest } from './requests.ts';

const ALL = new Set(CAPABILITIES);
const without = (...names: Capability[]) => new Set(CAPABILITIES.filter((name) => !names.includes(name)));
const SCHEMA = { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'], additionalProperties: false };
const format = { type: 'jsonSchema', name: 'answer', description: 'It has a.', schema: SCHEMA, strict: true } as const;
const tool = { name: 'weather', parameters: SCHEMA, strict: true };
const user = (text: string, name?: string): Message => ({
  role: 'user',
  content: [{ type: 'text', text }],
  ...(name === undefined ? {} : { name }),
});

const everything: Partial<GenerationRequest> = {
  verbosity: 'low',
  seed: 7,
  reasoningEffort: 'high',
  reasoningBudget: 2_048,
  serviceTier: 'flex',
  parallelToolCalls: false,
  tools: [tool],
  format,
  messages: [{ role: 'system', content: [{ type: 'text', text: 'Be kind.' }], name: 'boss' }, user('Hello', 'Ann')],
  parameterNames: { verbosity: 'text.verbosity', reasoningEffort: 'reasoning.effort', messages: 'input' },
};

describe('adaptRequest', () => {
  it('a target with all capabilities gets the request unchanged', () => {
    const request = makeRequest(everything);
    expect(adaptRequest(request, ALL)).toEqual({
      request,
      ignored: [],
      unenforced: undefined,
      keepsFirstCall: false,
      servedTier: undefined,
    });
    expect(adaptRequest(request, ALL).request).toBe(request);
  });

  it('a plain request is unchanged on a target without capabilities', () => {
    const request = makeRequest({ reasoningEffort: 'none', verbosity: 'medium', serviceTier: 'auto' });
    const { request: sent, ignored } = adaptRequest(request, new Set());
    expect({ sent, ignored }).toEqual({ sent: makeRequest({ verbosity: 'medium', serviceTier: 'auto' }), ignored: [] });
  });

  it('hints that the target lacks are left out and named as the caller names them', () => {
    const hints = without('verbosity', 'seed', 'reasoning', 'serviceTiers');
    const { request, ignored, servedTier } = adaptRequest(makeRequest(everything), hints);
    for (const name of ['verbosity', 'seed', 'reasoningEffort', 'reasoningBudget', 'serviceTier'])
      expect(request).not.toHaveProperty(name);
    expect(ignored).toEqual(['text.verbosity', 'seed', 'reasoning.effort']);
    expect(servedTier).toBe('default');
  });

  it('the name of a user is written in front of its text, and other names are dropped', () => {
    const image = { type: 'image', mediaType: 'image/png', base64: 'AAAA', param: 'p' } as const;
    const { request, ignored } = adaptRequest(
      makeRequest({
        messages: [
          user('Hi', 'Ann'),
          { role: 'user', content: [image], name: 'Bob' },
          { role: 'assistant', content: [{ type: 'text', text: 'Hello' }], name: 'agent' },
          user('And?'),
        ],
      }),
      without('names'),
    );
    expect(request.messages).toEqual([
      user('Ann: Hi'),
      { role: 'user', content: [{ type: 'text', text: 'Bob:' }, image] },
      { role: 'assistant', content: [{ type: 'text', text: 'Hello' }] },
      user('And?'),
    ]);
    expect(ignored).toEqual(['messages[].name']);
  });

  it('strict schemas that the target does not enforce are sent without strict, and the answer is checked', () => {
    const { request, unenforced } = adaptRequest(makeRequest(everything), without('strictTools', 'strictJsonSchema'));
    expect(request.tools).toEqual([{ ...tool, strict: false }]);
    expect(request.format).toEqual({ ...format, strict: false });
    expect(unenforced).toEqual({ format: SCHEMA, tools: new Map([['weather', SCHEMA]]) });
  });

  it('a target with only a JSON mode gets the schema in the system prompt', () => {
    const lean = new Set<Capability>(['json', 'names']);
    const { request, unenforced } = adaptRequest(makeRequest({ format, messages: [user('Hello')] }), lean);
    expect(request.format).toEqual({ type: 'json' });
    const [system, ...others] = request.messages;
    expect(others).toEqual([user('Hello')]);
    const part = system?.content[0];
    expect(part?.type === 'text' && part.text).toContain(`It has a.\n${JSON.stringify(SCHEMA)}`);
    expect(unenforced?.format).toEqual(SCHEMA);
    const after = adaptRequest(makeRequest(everything), lean).request.messages[0];
    expect(after?.content).toHaveLength(2);
  });

  it('a schema that is not strict is not checked', () => {
    const lenient = { ...format, strict: false };
    const { request, unenforced } = adaptRequest(makeRequest({ format: lenient }), new Set<Capability>(['json']));
    expect(request.format).toEqual({ type: 'json' });
    expect(unenforced).toBeUndefined();
  });

  it('a target that may call several tools at once answers with the first call only', () => {
    const { request, keepsFirstCall } = adaptRequest(makeRequest(everything), without('singleToolCall'));
    expect({ parallel: request.parallelToolCalls, keepsFirstCall }).toEqual({ parallel: true, keepsFirstCall: true });
    const noTools = makeRequest({ parallelToolCalls: false });
    expect(adaptRequest(noTools, without('singleToolCall')).keepsFirstCall).toBe(false);
  });
});
