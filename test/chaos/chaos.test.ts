import { describe, expect, test } from 'vitest';
import { runChaos } from './experiment.ts';
import { createLedger, type Ledger } from './ledger.ts';
import { describe as describeFindings, type Evidence, isClean, judge } from './report.ts';

/** More than these take too long beside all other tests; `npm run chaos` does as many as one likes. */
const JOBS = Number(process.env['CHAOS_JOBS'] ?? 200);

describe('the service under accidents', () => {
  test('loses no job, commits none twice, and fails none by throttling alone', { timeout: 600_000 }, async () => {
    const findings = await runChaos({
      jobs: JOBS,
      seed: Number(process.env['CHAOS_SEED'] ?? 17),
      hurry: 6,
      window: 60,
      concurrency: 8,
      killEverySeconds: 1.5,
      restartEverySeconds: 7,
      weather: 'changing',
    });
    expect(isClean(findings), describeFindings(findings)).toBe(true);
    expect(findings.accepted.total).toBe(JOBS);
    expect(Object.values(findings.kills).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
  });
});

const TABLE = 'jobs';
const keyOf = (id: string) => ({ pk: { S: `local#${id}` }, sk: { S: 'job' } });
const key = keyOf('resp_1');

/** A ledger whose clock is set by hand, and the writes of one job. */
function observed() {
  const clock = { now: 1_000, caller: 'first' };
  const ledger = createLedger(
    () => TABLE,
    () => clock.now,
  );
  const see = (operation: string, request: object, answer: object, status = 200) =>
    ledger.see({
      service: 'dynamodb',
      target: `DynamoDB_20120810.${operation}`,
      method: 'POST',
      requestId: clock.caller,
      request: Buffer.from(JSON.stringify({ TableName: TABLE, ...request })),
      status,
      answer: Buffer.from(JSON.stringify(answer)),
    });
  const update = (status: string, epoch: number, more: object = {}, code = 200) =>
    see(
      'UpdateItem',
      { Key: key, UpdateExpression: 'SET #status = :v0, #owner = :v1 REMOVE #dueAt ADD #epoch :v2' },
      { Attributes: { ...key, status: { S: status }, epoch: { N: String(epoch) }, ...more } },
      code,
    );
  return { clock, ledger, see, update, create: (id = 'resp_1') => see('PutItem', { Item: keyOf(id) }, {}) };
}

describe('the record of what became of each job', () => {
  test('tells of a job that ended once', async () => {
    const { ledger, create, update } = observed();
    create();
    const ended = ledger.ended('resp_1');
    update('in_progress', 1);
    update('completed', 1, { output: { M: { epoch: { N: '1' } } } });
    await ended;
    expect(ledger.entries.get('resp_1')).toMatchObject({
      ends: 1,
      changedAfterEnd: 0,
      committedByOthers: 0,
      killed: 0,
    });
    expect(ledger.entries.get('resp_1')?.claims).toEqual([{ by: 'first', at: 1_000 }]);
    expect(ledger.entries.get('resp_1')?.end).toMatchObject({ status: 'completed', epoch: 1, outputEpoch: '1' });
  });

  test('notices a second commit', () => {
    const { ledger, create, update } = observed();
    create();
    update('in_progress', 1);
    update('completed', 1);
    update('completed', 2);
    expect(ledger.entries.get('resp_1')?.ends).toBe(2);
  });

  test('notices a job that is changed or claimed after its end', () => {
    const { ledger, create, see, update } = observed();
    create();
    update('completed', 1);
    update('in_progress', 2);
    see(
      'UpdateItem',
      { Key: key, UpdateExpression: 'SET #output = :v0' },
      { Attributes: { ...key, status: { S: 'completed' }, epoch: { N: '1' }, output: { M: { epoch: { N: '9' } } } } },
    );
    expect(ledger.entries.get('resp_1')?.changedAfterEnd).toBe(2);
  });

  test('notices an answer that is committed by another than the last holder', () => {
    const { clock, ledger, create, update } = observed();
    create();
    update('in_progress', 1);
    clock.caller = 'second';
    update('in_progress', 2);
    clock.caller = 'first';
    update('completed', 2, { output: { M: { epoch: { N: '1' } } } });
    expect(ledger.entries.get('resp_1')).toMatchObject({ ends: 1, committedByOthers: 1 });
  });

  test('keeps what a committed answer took', () => {
    const { clock, ledger, create, update } = observed();
    create();
    update('in_progress', 1);
    clock.now = 4_000;
    const usage = { inputTokens: { N: '50' }, cachedInputTokens: { N: '20' }, outputTokens: { N: '10' } };
    update('completed', 1, { output: { M: { epoch: { N: '1' } } }, usage: { M: usage } });
    expect(ledger.entries.get('resp_1')).toMatchObject({
      endedAt: 4_000,
      usage: { inputTokens: 50, cachedTokens: 20, outputTokens: 10 },
    });
  });

  test('takes no write for made that was refused', () => {
    const { ledger, create, update } = observed();
    create();
    update('completed', 1);
    update('completed', 2, {}, 400);
    expect(ledger.entries.get('resp_1')?.ends).toBe(1);
  });

  test('measures from a kill to the claim that follows it', () => {
    const { clock, ledger, create, update } = observed();
    create();
    update('in_progress', 1);
    clock.now = 2_000;
    ledger.killed('first');
    clock.now = 9_500;
    update('in_progress', 2);
    expect(ledger.recoveriesMs).toEqual([7_500]);
    expect(ledger.entries.get('resp_1')).toMatchObject({ killed: 1, abandoned: 0 });
  });

  test('tells a holder that was frozen from one that could not let go, and when another takes over from it', async () => {
    const { ledger, create, update } = observed();
    create();
    update('in_progress', 1);
    const taken = ledger.frozen('first');
    update('in_progress', 2);
    await taken;
    expect(ledger.entries.get('resp_1')).toMatchObject({ killed: 0, frozen: 1, abandoned: 0 });
  });

  test('tells a holder that was killed from one that could not let go', () => {
    const { ledger, create, update } = observed();
    create();
    update('in_progress', 1);
    update('in_progress', 2);
    expect(ledger.entries.get('resp_1')).toMatchObject({ killed: 0, abandoned: 1 });
  });
});

describe('the findings', () => {
  test('are clean when the one job was completed', () => {
    expect(isClean(judge(evidence()))).toBe(true);
  });

  test.each<[string, Partial<Evidence>, ((ledger: Ledger) => void)?]>([
    ['lost', { table: { statuses: new Map(), untold: 0 } }],
    ['left pending', { table: { statuses: new Map([['resp_1', 'queued']]), untold: 0 } }],
    ['shown wrongly', { shown: { checked: 1, wrong: 1 } }],
    ['answered in two ways', { replies: { received: () => 2, answers: new Map([['resp_1', new Set(['a', 'b'])]]) } }],
  ])('are not when it was %s', (_, different) => {
    expect(isClean(judge({ ...evidence(), ...different }))).toBe(false);
  });

  test.each<[string, [string, string][]]>([
    ['lost', []],
    ['left pending', [['resp_2', 'queued']]],
  ])('are not when a job was %s of which its caller never heard', (_, statuses) => {
    const { ledger, create, update } = observed();
    create();
    update('completed', 1);
    create('resp_2');
    const table = { statuses: new Map([['resp_1', 'completed'], ...statuses]), untold: 0 };
    expect(ledger.openCount()).toBe(1);
    expect(isClean(judge({ ...evidence(), ledger, table }))).toBe(false);
  });

  test('are not when it was committed twice', () => {
    const { ledger, create, update } = observed();
    create();
    update('completed', 1);
    update('completed', 1);
    const findings = judge({ ...evidence(), ledger });
    expect(findings).toMatchObject({ committedTwice: 1 });
    expect(isClean(findings)).toBe(false);
  });

  test('are not when a fenced attempt committed it', () => {
    const { clock, ledger, create, update } = observed();
    create();
    update('in_progress', 1);
    clock.caller = 'second';
    update('completed', 1, { output: { M: { epoch: { N: '1' } } } });
    expect(isClean(judge({ ...evidence(), ledger }))).toBe(false);
  });

  test.each([
    { cut: 2, throttled: 1 },
    { cut: 3, throttled: 0 },
  ])('hold throttling guilty of a failure when $cut of its streams were cut', ({ cut, throttled }) => {
    const { ledger, create, update } = observed();
    create();
    update('failed', 3, { errorCode: { S: 'upstream_cut' } });
    const table = { statuses: new Map([['resp_1', 'failed']]), untold: 0 };
    const upstream = { ...evidence().upstream, of: () => ({ begun: 3, cut }) };
    expect(judge({ ...evidence(), ledger, table, upstream })).toMatchObject({
      failedByThrottling: throttled,
      failed: { 'failed upstream_cut': 1 },
    });
  });
});

/** Of a run of one job that was completed at once. */
function evidence(): Evidence {
  const { ledger, create, update } = observed();
  create();
  update('in_progress', 1);
  update('completed', 1);
  const counts = { throttled: 0, overloaded: 0, refused: 0, cut: 0, answered: 1, busy: 0 };
  return {
    options: {
      jobs: 1,
      seed: 1,
      hurry: 1,
      window: 1,
      concurrency: 1,
      killEverySeconds: 0,
      restartEverySeconds: 0,
      weather: 'fair',
    },
    seconds: 1,
    produced: { accepted: new Map([['resp_1', 0]]), begun: 1, http: 1, queue: 0, httpRefusals: 0, forgotten: 0 },
    ledger,
    torments: { kills: {}, restarts: [] },
    upstream: { calls: () => 1, counts: () => counts, of: () => ({ begun: 1, cut: 0 }) },
    replies: { received: () => 0, answers: new Map() },
    faults: undefined,
    table: { statuses: new Map([['resp_1', 'completed']]), untold: 0 },
    shown: { checked: 1, wrong: 0 },
  };
}
