import { describe, expect, it } from 'vitest';
import { runChaos } from './experiment.ts';
import { describeFindings, type Evidence, isClean, judgeEvidence } from './findings.ts';
import { createLedger, type Ledger } from './ledger.ts';

/** Number of jobs, small for the test suite. */
const JOBS = Number(process.env['CHAOS_JOBS'] ?? 200);

describe('the service under faults', () => {
  it('the service under faults loses no job, commits none twice, and fails none by throttling alone', {
    timeout: 1_800_000,
  }, async () => {
    const findings = await runChaos({
      jobs: JOBS,
      seed: Number(process.env['CHAOS_SEED'] ?? 17),
      divisor: 6,
      window: 60,
      concurrency: 8,
      killEverySeconds: 1.5,
      restartEverySeconds: 7,
      faultMix: 'changing',
    });
    expect(isClean(findings), describeFindings(findings)).toBe(true);
    expect(findings.accepted.total).toBe(JOBS);
    expect(Object.values(findings.kills).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
  });
});

const TABLE = 'jobs';
const toKey = (id: string) => ({ pk: { S: `local#${id}` }, sk: { S: 'job' } });
const key = toKey('resp_1');

/** Creates a ledger with a manual clock, and functions that show it writes of a job. */
function createObservedLedger() {
  const clock = { now: 1_000, caller: 'first' };
  const ledger = createLedger(
    () => TABLE,
    () => clock.now,
  );
  const observe = (operation: string, request: object, answer: object, status = 200) =>
    ledger.observe({
      service: 'dynamodb',
      target: `DynamoDB_20120810.${operation}`,
      method: 'POST',
      requestId: clock.caller,
      request: Buffer.from(JSON.stringify({ TableName: TABLE, ...request })),
      status,
      response: Buffer.from(JSON.stringify(answer)),
    });
  const update = (status: string, epoch: number, more: object = {}, code = 200) =>
    observe(
      'UpdateItem',
      { Key: key, UpdateExpression: 'SET #status = :v0, #owner = :v1 REMOVE #dueAt ADD #epoch :v2' },
      { Attributes: { ...key, status: { S: status }, epoch: { N: String(epoch) }, ...more } },
      code,
    );
  return { clock, ledger, observe, update, create: (id = 'resp_1') => observe('PutItem', { Item: toKey(id) }, {}) };
}

describe('the ledger', () => {
  it('the ledger records the single end of a job', async () => {
    const { ledger, create, update } = createObservedLedger();
    create();
    const ended = ledger.waitUntilEnded('resp_1');
    update('in_progress', 1);
    update('completed', 1, { output: { M: { epoch: { N: '1' } } } });
    await ended;
    expect(ledger.entries.get('resp_1')).toMatchObject({
      ends: 1,
      changedAfterEnd: 0,
      committedByOthers: 0,
      killed: 0,
    });
    expect(ledger.entries.get('resp_1')?.claims).toEqual([{ invocation: 'first', at: 1_000 }]);
    expect(ledger.entries.get('resp_1')?.end).toMatchObject({ status: 'completed', epoch: 1, outputEpoch: '1' });
  });

  it('the ledger detects a second commit', () => {
    const { ledger, create, update } = createObservedLedger();
    create();
    update('in_progress', 1);
    update('completed', 1);
    update('completed', 2);
    expect(ledger.entries.get('resp_1')?.ends).toBe(2);
  });

  it('the ledger detects a job that is changed or claimed after its end', () => {
    const { ledger, create, observe, update } = createObservedLedger();
    create();
    update('completed', 1);
    update('in_progress', 2);
    observe(
      'UpdateItem',
      { Key: key, UpdateExpression: 'SET #output = :v0' },
      { Attributes: { ...key, status: { S: 'completed' }, epoch: { N: '1' }, output: { M: { epoch: { N: '9' } } } } },
    );
    expect(ledger.entries.get('resp_1')?.changedAfterEnd).toBe(2);
  });

  it('the ledger detects an answer that another invocation than the last holder committed', () => {
    const { clock, ledger, create, update } = createObservedLedger();
    create();
    update('in_progress', 1);
    clock.caller = 'second';
    update('in_progress', 2);
    clock.caller = 'first';
    update('completed', 2, { output: { M: { epoch: { N: '1' } } } });
    expect(ledger.entries.get('resp_1')).toMatchObject({ ends: 1, committedByOthers: 1 });
  });

  it('the ledger records the usage of a committed answer', () => {
    const { clock, ledger, create, update } = createObservedLedger();
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

  it('the ledger ignores refused writes', () => {
    const { ledger, create, update } = createObservedLedger();
    create();
    update('completed', 1);
    update('completed', 2, {}, 400);
    expect(ledger.entries.get('resp_1')?.ends).toBe(1);
  });

  it('the ledger measures the time from a kill to the next claim', () => {
    const { clock, ledger, create, update } = createObservedLedger();
    create();
    update('in_progress', 1);
    clock.now = 2_000;
    ledger.noteKill('first');
    clock.now = 9_500;
    update('in_progress', 2);
    expect(ledger.recoveriesMs).toEqual([7_500]);
    expect(ledger.entries.get('resp_1')).toMatchObject({ killed: 1, abandoned: 0 });
  });

  it('the ledger distinguishes a frozen holder from one that could not release its job, and reports the takeover', async () => {
    const { ledger, create, update } = createObservedLedger();
    create();
    update('in_progress', 1);
    const taken = ledger.noteFreeze('first');
    update('in_progress', 2);
    await taken;
    expect(ledger.entries.get('resp_1')).toMatchObject({ killed: 0, frozen: 1, abandoned: 0 });
  });

  it('the ledger distinguishes a killed holder from one that could not release its job', () => {
    const { ledger, create, update } = createObservedLedger();
    create();
    update('in_progress', 1);
    update('in_progress', 2);
    expect(ledger.entries.get('resp_1')).toMatchObject({ killed: 0, abandoned: 1 });
  });
});

describe('the findings', () => {
  it('the findings are clean if the job completed', () => {
    expect(isClean(judgeEvidence(makeEvidence()))).toBe(true);
  });

  it.each<[string, Partial<Evidence>, ((ledger: Ledger) => void)?]>([
    ['lost', { table: { statuses: new Map(), incompleteSteps: 0 } }],
    ['left pending', { table: { statuses: new Map([['resp_1', 'queued']]), incompleteSteps: 0 } }],
    ['retrieved with a wrong answer', { responses: { checked: 1, wrong: 1 } }],
    ['answered in two ways', { replies: { received: () => 2, answers: new Map([['resp_1', new Set(['a', 'b'])]]) } }],
  ])('the findings are not clean if the job was %s', (_, different) => {
    expect(isClean(judgeEvidence({ ...makeEvidence(), ...different }))).toBe(false);
  });

  it.each<[string, [string, string][]]>([
    ['lost', []],
    ['left pending', [['resp_2', 'queued']]],
  ])('the findings are not clean if a job whose caller got no response was %s', (_, statuses) => {
    const { ledger, create, update } = createObservedLedger();
    create();
    update('completed', 1);
    create('resp_2');
    const table = { statuses: new Map([['resp_1', 'completed'], ...statuses]), incompleteSteps: 0 };
    expect(ledger.openCount()).toBe(1);
    expect(isClean(judgeEvidence({ ...makeEvidence(), ledger, table }))).toBe(false);
  });

  it('the findings are not clean if the job was committed twice', () => {
    const { ledger, create, update } = createObservedLedger();
    create();
    update('completed', 1);
    update('completed', 1);
    const findings = judgeEvidence({ ...makeEvidence(), ledger });
    expect(findings).toMatchObject({ committedTwice: 1 });
    expect(isClean(findings)).toBe(false);
  });

  it('the findings are not clean if a fenced attempt committed the job', () => {
    const { clock, ledger, create, update } = createObservedLedger();
    create();
    update('in_progress', 1);
    clock.caller = 'second';
    update('completed', 1, { output: { M: { epoch: { N: '1' } } } });
    expect(isClean(judgeEvidence({ ...makeEvidence(), ledger }))).toBe(false);
  });

  it.each([
    { cut: 2, throttled: 1 },
    { cut: 3, throttled: 0 },
  ])(
    'the findings count $throttled failures caused by throttling if $cut of three attempts were cut',
    ({ cut, throttled }) => {
      const { ledger, create, update } = createObservedLedger();
      create();
      update('failed', 3, { errorCode: { S: 'upstream_cut' } });
      const table = { statuses: new Map([['resp_1', 'failed']]), incompleteSteps: 0 };
      const upstream = { ...makeEvidence().upstream, countStreams: () => ({ started: 3, cut }) };
      expect(judgeEvidence({ ...makeEvidence(), ledger, table, upstream })).toMatchObject({
        failedByThrottling: throttled,
        failed: { 'failed upstream_cut': 1 },
      });
    },
  );
});

/** Makes the evidence of a run whose one job completed at once. */
function makeEvidence(): Evidence {
  const { ledger, create, update } = createObservedLedger();
  create();
  update('in_progress', 1);
  update('completed', 1);
  const counts = { throttled: 0, overloaded: 0, refused: 0, cut: 0, answered: 1, busy: 0 };
  return {
    options: {
      jobs: 1,
      seed: 1,
      divisor: 1,
      window: 1,
      concurrency: 1,
      killEverySeconds: 0,
      restartEverySeconds: 0,
      faultMix: 'none',
    },
    seconds: 1,
    produced: { accepted: new Map([['resp_1', 0]]), started: 1, http: 1, queue: 0, httpRefusals: 0, forgotten: 0 },
    ledger,
    injected: { kills: {}, restarts: [] },
    upstream: { calls: () => 1, counts: () => counts, countStreams: () => ({ started: 1, cut: 0 }) },
    replies: { received: () => 0, answers: new Map() },
    faults: undefined,
    table: { statuses: new Map([['resp_1', 'completed']]), incompleteSteps: 0 },
    responses: { checked: 1, wrong: 0 },
  };
}
