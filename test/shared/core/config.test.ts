import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../../shared/core/config.ts';

describe('a function’s environment', () => {
  it('is read into values, with defaults', () => {
    expect(readConfig({ TABLE: v.string() }, { TABLE: 'access' })).toMatchObject({
      TABLE: 'access',
      LOG_LEVEL: 'info',
    });
  });

  it('names every variable that is missing, empty or wrong, and shows no value', () => {
    const read = () => readConfig({ A: v.string(), B: v.string() }, { B: '', LOG_LEVEL: 'secret-ish' });
    expect(read).toThrow(/A is not set.*B is not set/);
    expect(read).toThrow(/LOG_LEVEL is not valid/);
    expect(read).not.toThrow(/secret-ish/);
  });
});
