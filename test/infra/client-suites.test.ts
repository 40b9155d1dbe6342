import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXCEPTIONS } from '../clients/suites/exceptions.ts';
import { judgeSuite } from '../clients/suites/judge.ts';

const read = (file: string): Promise<string> => readFile(join(import.meta.dirname, '../..', file), 'utf8');

describe('the suites of the SDKs', () => {
  const exceptions = [{ suite: 's', tests: /^old/, reason: 'not yet' }];
  const passed = Array.from({ length: 99 }, (_, index) => ({ check: `new ${index}` }));

  it('openai-python and its tests have the version that the matrix has', async () => {
    const files = ['python', 'suites/python'].map((folder) => read(`test/clients/${folder}/requirements.txt`));
    const texts = await Promise.all([...files, read('test/clients/suites/python/sdist-requirements.txt')]);
    const versions = texts.map((text) => /^openai==(\S+)/m.exec(text)?.[1]);
    expect(new Set(versions).size).toBe(1);
    expect(versions[0]).toBeDefined();
  });

  it('each exception has a reason', () => {
    for (const { reason } of EXCEPTIONS) expect(reason).not.toBe('');
  });

  it('a test that fails is a problem, except if it is an exception', () => {
    const result = judgeSuite('s', [...passed, { check: 'old', error: 'no' }], exceptions);
    expect(result).toEqual({ suite: 's', tests: 100, passed: 99, exceptions: 1, problems: [] });
    const failed = judgeSuite('s', [...passed, { check: 'old', error: 'no' }, { check: 'x', error: 'no' }], exceptions);
    expect(failed.problems).toEqual(['x: no']);
  });

  it('an exception that passes, or that names no test, is a problem', () => {
    expect(judgeSuite('s', [...passed, { check: 'old' }], exceptions).problems).toEqual([
      expect.stringMatching(/old passes now/),
    ]);
    expect(judgeSuite('s', passed, exceptions).problems).toEqual([expect.stringMatching(/no test has the name/)]);
  });

  it('too many exceptions are a problem', () => {
    const old = Array.from({ length: 4 }, (_, index) => ({ check: `old ${index}`, error: 'no' }));
    expect(judgeSuite('s', [...passed, ...old], exceptions).problems).toEqual([
      expect.stringMatching(/fewer than 97%/),
    ]);
  });
});
