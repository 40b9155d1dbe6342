import { describe, expect, it } from 'vitest';
import { Exclusion } from '../../../shared/core/exclusion.ts';

const settle = () => new Promise((resolve) => setImmediate(resolve));

/** Tasks of one exclusion, which end on demand, with a log of their beginnings and ends. */
function createTasks() {
  const exclusion = new Exclusion();
  const log: string[] = [];
  const ends = new Map<string, PromiseWithResolvers<void>>();
  const wait = (name: string): Promise<void> => {
    const end = Promise.withResolvers<void>();
    ends.set(name, end);
    return end.promise;
  };
  return {
    exclusion,
    log,
    beside: (name: string) =>
      exclusion.run(async () => {
        log.push(`${name} begins`);
        await wait(name);
        log.push(`${name} ends`);
      }),
    alone: (name: string) =>
      exclusion.run(({ runAlone }) =>
        runAlone(async () => {
          log.push(`${name} begins alone`);
          await wait(name);
          log.push(`${name} ends alone`);
        }),
      ),
    async end(name: string) {
      ends.get(name)?.resolve();
      await settle();
    },
  };
}

describe('an exclusion', () => {
  it('runs tasks beside each other', async () => {
    const { beside, log } = createTasks();
    void beside('a');
    void beside('b');
    await settle();
    expect(log).toEqual(['a begins', 'b begins']);
  });

  it('runs a task alone at once if no other runs', async () => {
    const { alone, log } = createTasks();
    void alone('x');
    await settle();
    expect(log).toEqual(['x begins alone']);
  });

  it('lets a task that runs alone wait for the others, and later ones wait for it', async () => {
    const { beside, alone, end, log } = createTasks();
    const all = [beside('a'), beside('b'), alone('x')];
    await settle();
    all.push(beside('c'));
    await settle();
    await end('a');
    expect(log).toEqual(['a begins', 'b begins', 'a ends']);
    await end('b');
    await end('x');
    await end('c');
    await Promise.all(all);
    expect(log.slice(3)).toEqual(['b ends', 'x begins alone', 'x ends alone', 'c begins', 'c ends']);
  });

  it('runs several tasks alone one after the other, before those that wait to run beside others', async () => {
    const { beside, alone, end, log } = createTasks();
    const all = [alone('x'), alone('y')];
    await settle();
    all.push(beside('a'));
    await settle();
    await end('x');
    await end('y');
    await end('a');
    await Promise.all(all);
    expect(log).toEqual(['x begins alone', 'x ends alone', 'y begins alone', 'y ends alone', 'a begins', 'a ends']);
  });

  it('goes on after a task that ran alone failed, and passes its error on', async () => {
    const { exclusion, beside, end } = createTasks();
    const failing = exclusion.run(({ runAlone }) => runAlone(() => Promise.reject(new Error('failed'))));
    await expect(failing).rejects.toThrow('failed');
    const next = beside('a');
    await settle();
    await end('a');
    await next;
  });

  it('counts a task as beside others again after it ran alone', async () => {
    const { exclusion, alone, end, log } = createTasks();
    const rest = Promise.withResolvers<void>();
    const first = exclusion.run(async ({ runAlone }) => {
      await runAlone(async () => {});
      await rest.promise;
      log.push('first ends');
    });
    await settle();
    const second = alone('x');
    await settle();
    expect(log).toEqual([]);
    rest.resolve();
    await settle();
    await end('x');
    await Promise.all([first, second]);
    expect(log).toEqual(['first ends', 'x begins alone', 'x ends alone']);
  });
});
