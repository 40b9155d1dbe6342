import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../../shared/core/config.ts';

describe('readConfig', () => {
  it('readConfig returns the variables, with defaults', () => {
    expect(readConfig({ TABLE: v.string() }, { TABLE: 'access' })).toMatchObject({
      TABLE: 'access',
      LOG_LEVEL: 'info',
    });
  });

  it('readConfig throws an error that names each missing, empty or invalid variable, but no value', () => {
    const read = () => readConfig({ A: v.string(), B: v.string() }, { B: '', LOG_LEVEL: 'secret-ish' });
    expect(read).toThrow(/A is not set.*B is not set/);
    expect(read).toThrow(/LOG_LEVEL is not valid/);
    expect(read).not.toThrow(/secret-ish/);
  });
});
