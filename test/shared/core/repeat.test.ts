import { expect, it } from 'vitest';
import { repeatAfterFailures } from '../../../shared/core/repeat.ts';

/** Returns a function that throws these errors, one a call, and then returns `done`. */
function failWith(...errors: Error[]) {
  const left = [...errors];
  return async () => {
    const error = left.shift();
    if (error !== undefined) throw error;
    return 'done';
  };
}
const passing = new Error('passing');
const lasting = new Error('lasting');
const mayRepeat = (thrown: unknown) => thrown === passing;

it('repeatAfterFailures calls again after each pause until a call succeeds', async () => {
  const paused: unknown[] = [];
  const pause = async (thrown: unknown) => void paused.push(thrown);
  expect(await repeatAfterFailures(failWith(passing, passing), mayRepeat, pause)).toBe('done');
  expect(paused).toEqual([passing, passing]);
});

it('repeatAfterFailures throws a failure that may not be repeated, without a pause', async () => {
  const paused: unknown[] = [];
  const pause = async (thrown: unknown) => void paused.push(thrown);
  await expect(repeatAfterFailures(failWith(passing, lasting), mayRepeat, pause)).rejects.toBe(lasting);
  expect(paused).toEqual([passing]);
});

it('repeatAfterFailures throws the error of a pause that rejects', async () => {
  const stopped = new Error('stopped');
  await expect(repeatAfterFailures(failWith(passing), mayRepeat, () => Promise.reject(stopped))).rejects.toBe(stopped);
});
