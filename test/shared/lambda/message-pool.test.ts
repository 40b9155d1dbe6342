import { describe, expect, it } from 'vitest';
import {
  type Invocation,
  type MessageAction,
  MessagePool,
  type MessageQueue,
  type Processing,
} from '../../../shared/lambda/message-pool.ts';
import type { QueueRecord } from '../../../shared/lambda/queue-event.ts';
import { createVirtualTime, type VirtualTime } from '../gpu/virtual-time.ts';

const START = 1_800_000_000_000;
const DELETE: MessageAction = { kind: 'delete' };
const MINUTE_MS = 60_000;

/** A message that takes so long, whose body says how. */
function makeRecord(id: string, { received = 1 }: { received?: number } = {}): QueueRecord {
  return {
    messageId: id,
    receiptHandle: `handle ${id}`,
    body: id,
    attributes: { SenderId: 'AROA', ApproximateReceiveCount: String(received) },
  };
}
const makeRecords = (...ids: string[]) => ids.map((id) => makeRecord(id));

interface WorldOptions {
  readonly places?: number;
  readonly maxBytes?: number;
  /** Bytes by message id. Default: 1. */
  readonly bytes?: Readonly<Record<string, number>>;
  /** Milliseconds by message id. Default: 1,000. */
  readonly durations?: Readonly<Record<string, number>>;
  /** Messages that are processed in another way. They take their time, too, unless they wait themselves. */
  readonly process?: (id: string, processing: Processing, invocation: Invocation) => Promise<MessageAction | undefined>;
}

/** A pool before a queue of messages, on a virtual clock whose seconds are in `log`. */
function createWorld({ places = 2, maxBytes = 1_000, bytes = {}, durations = {}, process }: WorldOptions = {}) {
  const time: VirtualTime = createVirtualTime(START);
  const never = new AbortController().signal;
  const waiting: QueueRecord[] = [];
  const log: string[] = [];
  const removed: string[] = [];
  const visibility: [at: number, handles: readonly string[], seconds: number][] = [];
  const errors: string[] = [];
  const state = { receives: 0, failing: new Set<keyof MessageQueue>(), hidden: 0, largest: 0 };
  const inHand = { bytes: 0, messages: 0 };
  const seconds = () => (time.now() - START) / 1_000;
  const fail = (name: keyof MessageQueue) => {
    if (state.failing.has(name)) throw new Error(`${name} failed`);
  };
  const queue: MessageQueue = {
    async receive(max) {
      state.receives += 1;
      fail('receive');
      return waiting.splice(0, max);
    },
    async remove(handles) {
      fail('remove');
      removed.push(...handles);
    },
    async setVisibility(handles, visibleIn) {
      visibility.push([seconds(), handles, visibleIn]);
      fail('setVisibility');
    },
    async countHidden() {
      fail('countHidden');
      return state.hidden;
    },
  };
  const bytesOf = ({ body }: QueueRecord) => bytes[body] ?? 1;
  const pool = new MessagePool({
    queue,
    places,
    maxBytes,
    bytesOf,
    visibilitySeconds: 60,
    process: async (record, processing, invocation) => {
      const { body } = record;
      log.push(`${seconds()} ${body} begins`);
      inHand.bytes += bytesOf(record);
      state.largest = Math.max(state.largest, inHand.bytes);
      const action = await process?.(body, processing, invocation);
      if (action === undefined) await time.sleep(durations[body] ?? 1_000, invocation.signal);
      inHand.bytes -= bytesOf(record);
      log.push(`${seconds()} ${body} ends`);
      return action ?? DELETE;
    },
    now: time.now,
    sleep: time.sleep,
    onError: (what) => void errors.push(what),
  });
  return {
    ...{ time, waiting, log, removed, visibility, errors, state, pool, never },
    handlesHidden: (visibleIn: number) =>
      visibility.filter(([, , each]) => each === visibleIn).flatMap(([, handles]) => handles),
    /** Serves an event in an invocation of 15 minutes, or another time. Returns the kept messages and the seconds it took. */
    async serve(records: readonly QueueRecord[], timeoutMs = 15 * MINUTE_MS) {
      const beganAt = time.now();
      const shutdown = new AbortController();
      const ended = new AbortController();
      const deadlineAt = beganAt + timeoutMs;
      void time.sleep(timeoutMs, ended.signal).then(() => ended.signal.aborted || shutdown.abort());
      const invocation = { requestId: 'r', signal: shutdown.signal, deadlineAt };
      const kept = await time.runUntilSettled(pool.serve(records, invocation));
      ended.abort();
      return { kept, seconds: (time.now() - beganAt) / 1_000 };
    },
  };
}

describe('places', () => {
  it('that become free receive other messages while a long one runs, until the last has ended', async () => {
    const world = createWorld({ durations: { long: 120_000 } });
    world.waiting.push(...makeRecords('a', 'b', 'c'));
    expect(await world.serve(makeRecords('long', 'short'))).toEqual({ kept: [], seconds: 120 });
    expect(world.log.filter((line) => line.endsWith('begins'))).toEqual([
      '0 long begins',
      '0 short begins',
      '1 a begins',
      '2 b begins',
      '3 c begins',
    ]);
    expect([...world.removed].sort()).toEqual(['a', 'b', 'c', 'long', 'short'].map((id) => `handle ${id}`));
  });

  it('receive a message that is sent while others run', async () => {
    const world = createWorld({ durations: { long: 60_000 } });
    void world.time.sleep(30_500, world.never).then(() => world.waiting.push(makeRecord('late')));
    await world.serve(makeRecords('long'));
    const begins = world.log.find((line) => line.endsWith('late begins'));
    expect(Number.parseFloat(begins ?? '')).toBeLessThanOrEqual(32);
  });

  it('hold no more messages than there are', async () => {
    const world = createWorld({ places: 3 });
    world.waiting.push(...Array.from({ length: 20 }, (_, index) => makeRecord(`m${index}`)));
    await world.serve(makeRecords('first'));
    let running = 0;
    let most = 0;
    for (const line of world.log) {
      running += line.endsWith('begins') ? 1 : -1;
      most = Math.max(most, running);
    }
    expect(most).toBe(3);
    expect(world.removed).toHaveLength(21);
  });

  it('receive nothing after less time is left than the longest recent message took', async () => {
    const world = createWorld({ places: 1, durations: { long: 240_000, next: 240_000 } });
    world.waiting.push(...makeRecords('next', 'third', 'fourth'));
    // 600 s: after the first 240 s, 360 s are left and 242 s needed; after the second, 120 s are left.
    expect((await world.serve(makeRecords('long'), 10 * MINUTE_MS)).seconds).toBe(480);
    expect(world.waiting.map(({ messageId }) => messageId)).toEqual(['third', 'fourth']);
  });

  it('receive although a message has waited long to run alone, which says nothing about the next one', async () => {
    const world = createWorld({
      durations: { long: 240_000 },
      process: async (id, { runAlone }) => (id === 'suspect' ? runAlone(async () => DELETE) : undefined),
    });
    world.waiting.push(...makeRecords('short', 'next'));
    // After 240 s of 600 s, with the suspect's second run included, both places receive.
    await world.serve(makeRecords('suspect', 'long'), 10 * MINUTE_MS);
    expect(world.waiting).toEqual([]);
    await world.serve(makeRecords('another'), 4 * MINUTE_MS);
  });

  it('remember a message that took long although many short ones followed', async () => {
    const shorts = Array.from({ length: 90 }, (_, index) => `short${index}`);
    const durations = Object.fromEntries(shorts.map((id) => [id, 3_000]));
    const world = createWorld({ places: 1, durations: { ...durations, long: 240_000, first: 3_000 } });
    await world.serve(makeRecords('long'));
    world.waiting.push(...makeRecords(...shorts));
    // Until 242 of 500 seconds are left.
    expect((await world.serve(makeRecords('first'), 500_000)).seconds).toBe(258);
  });

  it('receive until a minute before the end again, some time after a message that took long', async () => {
    const world = createWorld({ places: 1, durations: { long: 120_000 } });
    await world.serve(makeRecords('long'));
    world.waiting.push(...Array.from({ length: 1_300 }, (_, index) => makeRecord(`m${index}`)));
    expect((await world.serve(makeRecords('first'), 20 * MINUTE_MS)).seconds).toBe(1_140);
  });

  it('receive nothing with less than a minute left', async () => {
    const world = createWorld({ places: 1, durations: { first: 70_000 } });
    world.waiting.push(makeRecord('next'));
    await world.serve(makeRecords('first'), 2 * MINUTE_MS);
    expect(world.waiting).toHaveLength(1);
  });

  it('receive during at least half of a short invocation', async () => {
    const world = createWorld({ places: 1 });
    world.waiting.push(...Array.from({ length: 60 }, (_, index) => makeRecord(`m${index}`)));
    expect((await world.serve(makeRecords('first'), 30_000)).seconds).toBeGreaterThanOrEqual(15);
  });
});

describe('bytes in hand', () => {
  it('stay below their bound', async () => {
    const bytes = { a: 600, b: 600, c: 300 };
    const world = createWorld({ places: 3, bytes });
    expect((await world.serve(makeRecords('a', 'b', 'c'))).kept).toEqual([]);
    expect(world.state.largest).toBeLessThanOrEqual(1_000);
    expect(world.removed).toHaveLength(3);
  });

  it('that a message waits for delay no smaller message behind it', async () => {
    const world = createWorld({ places: 3, bytes: { long: 600, large: 600 }, durations: { long: 120_000 } });
    await world.serve(makeRecords('long', 'large', 'small'));
    expect(world.log.filter((line) => line.endsWith('begins'))).toEqual(['0 long begins', '0 small begins']);
  });

  it('that a message waits for are left to another process after 10 s', async () => {
    const world = createWorld({ places: 3, bytes: { long: 600, large: 600 }, durations: { long: 120_000 } });
    const { kept } = await world.serve([makeRecord('long'), makeRecord('large', { received: 3 })]);
    expect(kept).toEqual(['large']);
    expect(world.visibility.filter(([at]) => at === 10)).toEqual([[10, ['handle large'], 15]]);
    expect(world.visibility.filter(([at, handles]) => at > 10 && handles.includes('handle large'))).toEqual([]);
  });

  it('of a message above the bound are processed alone', async () => {
    const world = createWorld({ bytes: { large: 5_000 } });
    await world.serve(makeRecords('small', 'large', 'next'));
    expect(world.state.largest).toBe(5_000);
    expect(world.removed).toHaveLength(3);
  });

  it('bound all invocations of a process together', async () => {
    const world = createWorld({ bytes: { a: 600, b: 600 } });
    const invocation = { requestId: 'r', signal: world.never, deadlineAt: START + 15 * MINUTE_MS };
    const both = ['a', 'b'].map((id) => world.pool.serve(makeRecords(id), invocation));
    await world.time.runUntilSettled(Promise.all(both));
    expect(world.state.largest).toBe(600);
    expect(world.removed).toHaveLength(2);
  });

  it('that leave no room keep further messages from being received', async () => {
    const world = createWorld({ places: 5, bytes: { a: 900, b: 900 }, durations: { a: 30_000 } });
    world.waiting.push(makeRecord('other'));
    const served = world.serve(makeRecords('a', 'b'));
    await world.time.pass(9_000);
    expect(world.waiting).toHaveLength(1);
    await served;
  });
});

describe('a message that runs alone', () => {
  it('waits for the others, and later ones wait for it', async () => {
    const world = createWorld({
      places: 3,
      durations: { long: 10_000, suspect: 5_000 },
      process: async (id, { runAlone }, { signal }) => {
        if (id !== 'suspect') return undefined;
        return runAlone(async () => {
          world.log.push(`${(world.time.now() - START) / 1_000} suspect alone`);
          await world.time.sleep(5_000, signal);
          return DELETE;
        });
      },
    });
    void world.time.sleep(2_000, world.never).then(() => world.waiting.push(makeRecord('later')));
    await world.serve(makeRecords('long', 'suspect'));
    const lines = world.log.filter((line) => /alone|later begins/.test(line));
    expect(lines).toEqual(['10 suspect alone', '15 later begins']);
  });
});

describe('a process in which a further message would have to wait', () => {
  it('receives none while one waits to run alone', async () => {
    const world = createWorld({
      places: 4,
      durations: { long: 60_000 },
      process: async (id, { runAlone }) => (id === 'suspect' ? runAlone(async () => DELETE) : undefined),
    });
    void world.time.sleep(2_500, world.never).then(() => world.waiting.push(makeRecord('other')));
    await world.serve(makeRecords('long', 'suspect'));
    const begins = world.log.find((line) => line.endsWith('other begins'));
    expect(world.state.receives).toBeLessThan(5);
    expect(Number.parseFloat(begins ?? '')).toBeGreaterThanOrEqual(60);
  });

  it('receives none while the bytes in hand reach their bound', async () => {
    const world = createWorld({ places: 4, bytes: { large: 5_000 }, durations: { large: 60_000 } });
    await world.serve(makeRecords('large'));
    expect(world.state.receives).toBe(1);
  });
});

describe('a message that is hidden', () => {
  const hides = async (id: string) => (id === 'paused' ? ({ kind: 'hide', ms: 4_200 } as const) : undefined);

  it('is reported as kept if it is of the event, and hidden for its pause in whole seconds', async () => {
    const world = createWorld({ process: hides });
    expect((await world.serve(makeRecords('paused', 'done'))).kept).toEqual(['paused']);
    expect(world.handlesHidden(5)).toEqual(['handle paused']);
    expect(world.removed).toEqual(['handle done']);
  });

  it('is not reported if the pool received it itself', async () => {
    const world = createWorld({ process: hides });
    world.waiting.push(makeRecord('paused'));
    expect((await world.serve(makeRecords('done'))).kept).toEqual([]);
    expect(world.handlesHidden(5)).toEqual(['handle paused']);
  });

  it.each<[string, { hidden?: number; received?: number }, number, boolean]>([
    ['few messages are hidden', {}, 60_000, true],
    ['20,000 messages are hidden', { hidden: 20_000 }, 60_000, false],
    ['it was received 100 times', { received: 100 }, 60_000, false],
    ['it would be hidden for 12 hours', {}, 12 * 3_600_000, false],
  ])('may be hidden or not: %s', async (_when, { hidden = 0, received = 1 }, ms, expected) => {
    const answers: boolean[] = [];
    const world = createWorld({
      process: async (_id, { mayHide }) => {
        answers.push(mayHide(ms));
        return undefined;
      },
    });
    world.state.hidden = hidden;
    // The first message makes the pool count.
    await world.serve(makeRecords('first'));
    await world.serve([makeRecord('second', { received })]);
    expect(answers.at(-1)).toBe(expected);
  });

  it('is replaced soon after 20,000 are hidden, although all were hidden within a second', async () => {
    let hidden = 0;
    const world = createWorld({
      places: 1_000,
      process: async (_id, { mayHide }) => {
        if (!mayHide(60_000)) return undefined;
        // As many as a hundred processes hide meanwhile.
        hidden += 100;
        world.state.hidden = hidden;
        return { kind: 'hide', ms: 60_000 };
      },
    });
    for (let event = 0; event < 10; event += 1)
      await world.serve(makeRecords(...Array.from({ length: 100 }, (_, index) => `${event}-${index}`)));
    expect(hidden).toBeGreaterThanOrEqual(20_000);
    expect(hidden).toBeLessThanOrEqual(40_000);
  });

  it('may be hidden if the hidden messages cannot be counted', async () => {
    const answers: boolean[] = [];
    const world = createWorld({ process: async (_id, { mayHide }) => void answers.push(mayHide(1_000)) });
    world.state.failing.add('countHidden');
    await world.serve(makeRecords('first'));
    expect(answers).toEqual([true]);
    expect(world.errors).toEqual(['hidden messages not counted']);
  });
});

describe('a message that has ended', () => {
  it('is deleted early, although its event has others', async () => {
    const world = createWorld({ durations: { long: 60_000 } });
    const served = world.serve(makeRecords('long', 'short'));
    await world.time.pass(0);
    expect(world.removed).toEqual([]);
    void served;
    const early = world.time.sleep(2_000, world.never).then(() => [...world.removed]);
    await served;
    expect(await early).toEqual(['handle short']);
  });

  it('is delivered again if it cannot be deleted, without harm to others', async () => {
    const world = createWorld();
    world.state.failing.add('remove');
    expect((await world.serve(makeRecords('a', 'b'))).kept).toEqual([]);
    expect(new Set(world.errors)).toEqual(new Set(['messages not deleted']));
  });
});

describe('visibility', () => {
  it('is extended at once for all messages in hand, and every 20 s', async () => {
    const world = createWorld({ places: 1, durations: { long: 50_000 } });
    await world.serve(makeRecords('long', 'waits'));
    const extended = world.visibility.filter(([, , seconds]) => seconds === 60);
    expect(extended.slice(0, 3)).toEqual([
      [0, ['handle long', 'handle waits'], 60],
      [20, ['handle long'], 60],
      [40, ['handle long'], 60],
    ]);
  });

  it('is extended for received messages too, and not for those that have ended', async () => {
    const world = createWorld({ durations: { long: 50_000, received: 50_000 } });
    world.waiting.push(makeRecord('received'));
    await world.serve(makeRecords('long', 'short'));
    const at20 = world.visibility.find(([at]) => at === 20);
    expect(at20).toEqual([20, ['handle long', 'handle received'], 60]);
  });

  it('that cannot be changed ends nothing', async () => {
    const world = createWorld({ durations: { long: 50_000 } });
    world.state.failing.add('setVisibility');
    expect(await world.serve(makeRecords('long'))).toEqual({ kept: [], seconds: 50 });
    expect(new Set(world.errors)).toEqual(new Set(['visibility not changed']));
  });
});

describe('a failing receive', () => {
  it('is tried again every 2 s while messages run, and delays none', async () => {
    const world = createWorld({ durations: { long: 20_000 } });
    world.state.failing.add('receive');
    void world.time.sleep(9_000, world.never).then(() => world.state.failing.delete('receive'));
    world.waiting.push(makeRecord('next'));
    expect((await world.serve(makeRecords('long'))).seconds).toBe(20);
    expect(world.removed).toHaveLength(2);
    expect(world.errors).toEqual(Array.from({ length: 5 }, () => 'messages not received'));
  });

  it('ends the invocation if no message runs', async () => {
    const world = createWorld();
    world.state.failing.add('receive');
    expect((await world.serve(makeRecords('a'))).kept).toEqual([]);
  });
});

describe('the end of an invocation', () => {
  it('returns messages that were not processed to the queue, and reports those of the event', async () => {
    const world = createWorld({ places: 1, durations: { long: 100_000 } });
    const { kept, seconds } = await world.serve(makeRecords('long', 'b', 'c'), 9_000);
    expect(seconds).toBe(9);
    expect(kept).toEqual(['b', 'c']);
    expect(world.handlesHidden(0)).toEqual(['handle b', 'handle c']);
    expect(world.removed).toEqual(['handle long']);
  });

  it('returns messages to the queue that arrive too late', async () => {
    const late = createLateReceive(16_000);
    expect(await late.serve(makeRecords('long'), 15_000)).toEqual([]);
    expect(late.returned).toEqual(['handle late']);
  });

  it('leaves no heartbeat behind', async () => {
    const world = createWorld();
    await world.serve(makeRecords('a'));
    // What still slept would end here.
    await expect(world.time.runUntilSettled(new Promise(() => {}))).rejects.toThrow('no sleeper is left');
  });

  it('does not wait for the pause after an empty receive', async () => {
    const world = createWorld({ durations: { a: 1_500 } });
    expect((await world.serve(makeRecords('a'))).seconds).toBe(1.5);
  });

  it('leaves less than a whole invocation to messages that are received 30 s after its beginning', async () => {
    const wholes: Record<string, boolean> = {};
    const world = createWorld({
      durations: { a: 29_000, c: 5_000 },
      places: 1,
      process: async (id, { isWhole }) => {
        wholes[id] = isWhole();
        return undefined;
      },
    });
    world.waiting.push(...makeRecords('b', 'c'));
    await world.serve(makeRecords('a'));
    expect(wholes).toEqual({ a: true, b: true, c: false });
  });
});

it('an invocation does not end before all deletions, because Lambda would freeze them', async () => {
  const time = createVirtualTime(START);
  const never = new AbortController().signal;
  const removed: string[] = [];
  const pool = new MessagePool({
    queue: {
      receive: async () => [],
      async remove(handles) {
        await time.sleep(3_000, never);
        removed.push(...handles);
      },
      setVisibility: async () => {},
      countHidden: async () => 0,
    },
    ...{ places: 2, maxBytes: 10, visibilitySeconds: 60, now: time.now, sleep: time.sleep },
    bytesOf: () => 1,
    process: async ({ body }) => {
      await time.sleep(Number(body), never);
      return DELETE;
    },
    onError: () => {},
  });
  const invocation = { requestId: 'r', signal: never, deadlineAt: START + MINUTE_MS };
  // The second message ends while the first is being deleted.
  await time.runUntilSettled(pool.serve(makeRecords('100', '1000'), invocation));
  expect(removed).toEqual(['handle 100', 'handle 1000']);
});

it('a slow extension of the visibility leaves no place idle', async () => {
  const time = createVirtualTime(START);
  const never = new AbortController().signal;
  const waiting = makeRecords('next');
  const begins: Record<string, number> = {};
  const pool = new MessagePool({
    queue: {
      receive: async () => (time.now() < START + 30_000 ? [] : waiting.splice(0)),
      remove: async () => {},
      // From 0 to 9 s, and 20 s later from 29 to 38 s.
      setVisibility: () => time.sleep(9_000, never),
      countHidden: async () => 0,
    },
    ...{ places: 2, maxBytes: 10, visibilitySeconds: 60, now: time.now, sleep: time.sleep },
    bytesOf: () => 1,
    process: async ({ body }) => {
      begins[body] = (time.now() - START) / 1_000;
      await time.sleep(body === 'long' ? 50_000 : 30_000, never);
      return DELETE;
    },
    onError: () => {},
  });
  const invocation = { requestId: 'r', signal: never, deadlineAt: START + 15 * MINUTE_MS };
  await time.runUntilSettled(pool.serve(makeRecords('long', 'short'), invocation));
  expect(begins).toEqual({ long: 0, short: 0, next: 30 });
});

it('a pause comes after an extension that is under way', async () => {
  const time = createVirtualTime(START);
  const never = new AbortController().signal;
  const changes: number[] = [];
  const pool = new MessagePool({
    queue: {
      receive: async () => [],
      remove: async () => {},
      async setVisibility(_handles, seconds) {
        if (seconds === 60) await time.sleep(3_000, never);
        changes.push(seconds);
      },
      countHidden: async () => 0,
    },
    ...{ places: 1, maxBytes: 10, visibilitySeconds: 60, now: time.now, sleep: time.sleep },
    bytesOf: () => 1,
    process: async () => {
      await time.sleep(1_000, never);
      return { kind: 'hide', ms: 5_000 };
    },
    onError: () => {},
  });
  const invocation = { requestId: 'r', signal: never, deadlineAt: START + MINUTE_MS };
  await time.runUntilSettled(pool.serve(makeRecords('a'), invocation));
  expect(changes).toEqual([60, 5]);
});

/** Creates a pool whose queue answers a receive so late after the beginning, and whose messages end at the shutdown. */
function createLateReceive(answersAfterMs: number) {
  const time = createVirtualTime(START);
  const never = new AbortController().signal;
  const returned: string[] = [];
  const pool = new MessagePool({
    queue: {
      async receive() {
        await time.sleep(answersAfterMs, never);
        return makeRecords('late');
      },
      remove: async () => {},
      async setVisibility(handles, seconds) {
        if (seconds === 0) returned.push(...handles);
      },
      countHidden: async () => 0,
    },
    places: 2,
    maxBytes: 10,
    bytesOf: () => 1,
    visibilitySeconds: 60,
    process: async (_record, _processing, { signal }) => {
      await time.sleep(100_000, signal);
      return DELETE;
    },
    now: time.now,
    sleep: time.sleep,
    onError: () => {},
  });
  return {
    returned,
    serve(records: readonly QueueRecord[], timeoutMs: number) {
      const shutdown = new AbortController();
      void time.sleep(timeoutMs, never).then(() => shutdown.abort());
      const invocation = { requestId: 'r', signal: shutdown.signal, deadlineAt: START + timeoutMs };
      return time.runUntilSettled(pool.serve(records, invocation));
    },
  };
}
