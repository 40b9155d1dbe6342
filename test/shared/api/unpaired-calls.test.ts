import { describe, expect, test } from 'vitest';
import { removeUnpairedCalls } from '../../../shared/api/unpaired-calls.ts';
import type { ResolvedItem } from '../../../shared/openai/responses/items.ts';
import { type StoredItem, toStoredItem } from '../../../shared/openai/responses/stored-items.ts';

const says = (role: 'user' | 'assistant', content: string): ResolvedItem => ({ role, content });
const call = (call_id = 'c1'): ResolvedItem => ({ type: 'function_call', call_id, name: 'look', arguments: '{}' });
const output = (call_id = 'c1'): ResolvedItem => ({ type: 'function_call_output', call_id, output: 'seen' });
const reasoning: ResolvedItem = { type: 'reasoning', summary: [] };

/** Items as several requests and answers left them behind: each list is one of these. */
function stored(...attempts: readonly (readonly ResolvedItem[])[]): StoredItem[] {
  return attempts.flatMap((items, attempt) => {
    let index = 0;
    const ids = () => `${String(attempt).padStart(36, '0')}${String(index++).padStart(4, '0')}`;
    return items.map((item) => toStoredItem(item, ids));
  });
}

/** What is left for a model, named by what stands in it. */
function left(items: readonly StoredItem[], own: string | readonly ResolvedItem[] = 'Go on'): string[] {
  const kept = removeUnpairedCalls(
    items.map((item) => ({ item })),
    own,
  );
  return kept.map(({ item }) => String(item['call_id'] ?? item['role'] ?? item.type) + (item['output'] ? ' seen' : ''));
}

describe('stored items for a model', () => {
  const [question, answer] = [says('user', 'How is it?'), says('assistant', 'Fine.')];

  test('are all of them where calls have their outputs', () => {
    const items = stored([question], [reasoning, call('c1'), call('c2')], [output('c2'), output('c1')], [answer]);
    expect(left(items)).toEqual(['user', 'reasoning', 'c1', 'c2', 'c2 seen', 'c1 seen', 'assistant']);
  });

  test('are without an output whose call is gone, and without the reasoning that led to the call', () => {
    expect(left(stored([output()], [answer], [question]))).toEqual(['assistant', 'user']);
    expect(left(stored([question], [reasoning], [output()], [reasoning, answer]))).toEqual([
      'user',
      'reasoning',
      'assistant',
    ]);
  });

  test('are without a call of an earlier answer whose output is gone, and without its reasoning', () => {
    expect(left(stored([question], [reasoning, call()], [answer]))).toEqual(['user', 'assistant']);
    expect(left(stored([question], [reasoning, answer, call()], [reasoning, call('c2')], [output('c2')]))).toEqual([
      'user',
      'reasoning',
      'assistant',
      'reasoning',
      'c2',
      'c2 seen',
    ]);
  });

  test('keep a call of the latest answer, whose output the caller still has to bring', () => {
    expect(left(stored([question], [reasoning, call(), answer]))).toEqual(['user', 'reasoning', 'c1', 'assistant']);
  });

  test('keep any call that the caller answers now, unless it is a call of the caller’s own', () => {
    const items = stored([question], [call()], [answer]);
    expect(left(items, [output()])).toEqual(['user', 'c1', 'assistant']);
    expect(left(items, [call(), output()])).toEqual(['user', 'assistant']);
  });

  test('are told apart where an id comes again', () => {
    expect(left(stored([output()], [call()], [output()], [answer]))).toEqual(['c1', 'c1 seen', 'assistant']);
    expect(left(stored([question], [call()], [question], [call()], [output()], [answer]))).toEqual([
      'user',
      'user',
      'c1',
      'c1 seen',
      'assistant',
    ]);
  });

  test('are no business of an output that the caller sends without its call', () => {
    expect(left(stored([question], [answer]), [output()])).toEqual(['user', 'assistant']);
  });
});
