import { describe, expect, it } from 'vitest';
import { removeUnpairedCalls } from '../../../shared/api/unpaired-calls.ts';
import type { ResolvedItem } from '../../../shared/openai/responses/items.ts';
import { type StoredItem, toStoredItem } from '../../../shared/openai/responses/stored-items.ts';

const message = (role: 'user' | 'assistant', content: string): ResolvedItem =>
  role === 'user' ? { role, content } : { role, content };
const call = (call_id = 'c1'): ResolvedItem => ({ type: 'function_call', call_id, name: 'look', arguments: '{}' });
const output = (call_id = 'c1'): ResolvedItem => ({ type: 'function_call_output', call_id, output: 'seen' });
const reasoning: ResolvedItem = { type: 'reasoning', summary: [] };

/** Creates the stored items of several requests and responses, one list for each. */
function createStored(...attempts: readonly (readonly ResolvedItem[])[]): StoredItem[] {
  return attempts.flatMap((items, attempt) => {
    let index = 0;
    const ids = () => `${String(attempt).padStart(36, '0')}${String(index++).padStart(4, '0')}`;
    return items.map((item) => toStoredItem(item, ids));
  });
}

/** Removes unpaired calls and returns a short name for each remaining item. */
function remaining(items: readonly StoredItem[], callerInput: string | readonly ResolvedItem[] = 'Go on'): string[] {
  const kept = removeUnpairedCalls(
    items.map((item) => ({ item })),
    callerInput,
  );
  return kept.map(({ item }) => String(item['call_id'] ?? item['role'] ?? item.type) + (item['output'] ? ' seen' : ''));
}

describe('removeUnpairedCalls', () => {
  const [question, answer] = [message('user', 'How is it?'), message('assistant', 'Fine.')];

  it('calls and outputs that match are kept', () => {
    const items = createStored([question], [reasoning, call('c1'), call('c2')], [output('c2'), output('c1')], [answer]);
    expect(remaining(items)).toEqual(['user', 'reasoning', 'c1', 'c2', 'c2 seen', 'c1 seen', 'assistant']);
  });

  it('an output whose call is gone is removed, with the reasoning that led to the call', () => {
    expect(remaining(createStored([output()], [answer], [question]))).toEqual(['assistant', 'user']);
    expect(remaining(createStored([question], [reasoning], [output()], [reasoning, answer]))).toEqual([
      'user',
      'reasoning',
      'assistant',
    ]);
  });

  it('a call of an earlier response whose output is gone is removed, with its reasoning', () => {
    expect(remaining(createStored([question], [reasoning, call()], [answer]))).toEqual(['user', 'assistant']);
    expect(
      remaining(createStored([question], [reasoning, answer, call()], [reasoning, call('c2')], [output('c2')])),
    ).toEqual(['user', 'reasoning', 'assistant', 'reasoning', 'c2', 'c2 seen']);
  });

  it('a call of the latest response is kept, because the caller still has to send its output', () => {
    expect(remaining(createStored([question], [reasoning, call(), answer]))).toEqual([
      'user',
      'reasoning',
      'c1',
      'assistant',
    ]);
  });

  it('a call is kept if the caller sends its output, unless the output belongs to a call in the same input', () => {
    const items = createStored([question], [call()], [answer]);
    expect(remaining(items, [output()])).toEqual(['user', 'c1', 'assistant']);
    expect(remaining(items, [call(), output()])).toEqual(['user', 'assistant']);
  });

  it('calls with the same id are paired with the next output', () => {
    expect(remaining(createStored([output()], [call()], [output()], [answer]))).toEqual(['c1', 'c1 seen', 'assistant']);
    expect(remaining(createStored([question], [call()], [question], [call()], [output()], [answer]))).toEqual([
      'user',
      'user',
      'c1',
      'c1 seen',
      'assistant',
    ]);
  });

  it('an output in the caller’s input without a call changes nothing', () => {
    expect(remaining(createStored([question], [answer]), [output()])).toEqual(['user', 'assistant']);
  });
});
