import { createServer } from 'node:http';
import { describe, expect, it } from 'vitest';
import { listen } from '../../local/listen.ts';
import { waitUntil } from '../wait.ts';
import { runChaos } from './experiment.ts';
import { startFaultInjection } from './fault-injection.ts';
import { checkConversations } from './final-state.ts';
import { describeFindings, type Evidence, isClean, judgeEvidence } from './findings.ts';
import { countKindViolations } from './kind-findings.ts';
import type { JobKind } from './kinds.ts';
import { createLedger, type Ledger } from './ledger.ts';
import type { Produced } from './producers.ts';
import { createHostedQuestions } from './questions.ts';

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
      brownoutEverySeconds: 10,
      faultMix: 'changing',
      faultMinutes: 3,
    });
    expect(isClean(findings), describeFindings(findings)).toBe(true);
    expect(findings.accepted.total + findings.kinds.poison.messages).toBe(JOBS);
    expect(Object.values(findings.kills).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
  });
});

describe('the fault injection', () => {
  it('the fault injection makes each store slow, failing and away in turn, and ends the last brownout', async () => {
    const set = new Map<string, Set<string>>();
    const now = new Map<string, string>();
    const faults = {
      set(service: string, shares: object) {
        now.set(service, JSON.stringify(shares));
        set.set(service, (set.get(service) ?? new Set()).add(JSON.stringify(shares)));
      },
    };
    const injection = startFaultInjection(
      {
        cloud: { faults, processes: () => [], restartQueues: async () => {} },
        upstream: { set: () => {} },
        onKill: () => {},
        onRestart: async () => {},
        lastSeenAt: Date.now,
      },
      {
        killEverySeconds: 0,
        restartEverySeconds: 0,
        brownoutEverySeconds: 0.001,
        divisor: 10_000,
        faultMix: 'none',
        random: Math.random,
      },
    );
    await waitUntil('each brownout has begun', () => Object.keys(injection.brownouts).length >= 12);
    expect(Object.keys(injection.brownouts)).toHaveLength(12);
    await injection.stop();
    for (const service of ['dynamodb', 'sqs', 'kms', 's3']) {
      expect(set.get(service)).toEqual(new Set(['{"slow":1}', '{"failed":0.8}', '{"cutBefore":1}', '{}']));
      expect(now.get(service)).toBe('{}');
    }
  });
});

describe('the check of conversations', () => {
  const ask = (job: number) => ({ role: 'user', content: [{ text: `job ${job}.` }] });
  const answer = (job: number) => ({ role: 'assistant', content: [{ text: `job ${job}, call 1` }] });

  it.each([
    { conversation: 'each completed turn once', items: [ask(2), ask(1), answer(1), answer(2)], wrong: 0 },
    { conversation: 'a turn twice', items: [ask(1), answer(1), ask(2), answer(2), ask(1), answer(1)], wrong: 2 },
    { conversation: 'no answer of a turn', items: [ask(1), answer(1), ask(2)], wrong: 2 },
    { conversation: 'a failed turn', items: [ask(1), answer(1), ask(2), answer(2), ask(3)], wrong: 2 },
    { conversation: 'a foreign item', items: [ask(1), answer(1), ask(2), answer(2), ask(4)], wrong: 1 },
  ])('the check of a conversation with $conversation finds $wrong faults', async ({ items, wrong }) => {
    const server = createServer((_, response) => response.end(JSON.stringify({ data: items })));
    const { port, close } = await listen(server, { port: 0 });
    const ids = ['resp_1', 'resp_2', 'resp_3'];
    const accepted = new Map(ids.map((id, index) => [id, index + 1]));
    const check = await checkConversations(
      { url: `http://127.0.0.1:${port}` },
      { accepted, conversations: new Map([['conv_1', ids]]) },
      createHostedQuestions(false),
      (id) => id !== 'resp_3',
    );
    await close();
    expect(check).toEqual({ turns: 3, wrong });
  });
});

const TABLE = 'jobs';
const ONE_STREAM = { started: 1, cut: 0, tokens: 0, cutTokens: 0 };
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
      path: '/',
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
  const create = (id = 'resp_1') => observe('PutItem', { Item: toKey(id) }, {});
  const remove = () => observe('PutItem', { Item: { ...key, deletedAt: { N: '1' } } }, {});
  return { clock, ledger, observe, update, create, remove };
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

  it('the ledger records the deletion of a job, and detects a job that ends after it was deleted', async () => {
    const { ledger, create, remove, update } = createObservedLedger();
    create();
    const ended = ledger.waitUntilEnded('resp_1');
    update('in_progress', 1);
    remove();
    await ended;
    expect(ledger.entries.get('resp_1')).toMatchObject({ ends: 1, changedAfterEnd: 0, end: { status: 'deleted' } });
    expect(ledger.openCount()).toBe(0);
    update('completed', 1);
    expect(ledger.entries.get('resp_1')?.ends).toBe(2);
  });

  it('the ledger detects a job that is claimed after it was deleted', () => {
    const { ledger, create, remove, update } = createObservedLedger();
    create();
    update('completed', 1);
    remove();
    expect(ledger.entries.get('resp_1')).toMatchObject({ ends: 1, changedAfterEnd: 0, end: { status: 'deleted' } });
    update('in_progress', 2);
    expect(ledger.entries.get('resp_1')?.changedAfterEnd).toBe(1);
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

  it('the ledger counts a killed holder once if the job first waits again, and counts that as no release', () => {
    const { clock, ledger, create, observe, update } = createObservedLedger();
    create();
    update('in_progress', 1);
    ledger.noteKill('first');
    clock.now = 6_000;
    clock.caller = 'sweep';
    observe(
      'UpdateItem',
      { Key: key, UpdateExpression: 'SET #status = :v0, #dueAt = :v1 REMOVE #owner ADD #crashes :v2' },
      { Attributes: { ...key, status: { S: 'queued' }, epoch: { N: '1' } } },
    );
    clock.now = 7_000;
    clock.caller = 'second';
    update('in_progress', 2);
    expect(ledger.entries.get('resp_1')).toMatchObject({ killed: 1, abandoned: 0, releases: 0 });
    expect(ledger.recoveriesMs).toEqual([6_000]);
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
    ['lost', { table: { statuses: new Map(), incompleteSteps: 0, leftovers: 0 } }],
    ['left pending', { table: { statuses: new Map([['resp_1', 'queued']]), incompleteSteps: 0, leftovers: 0 } }],
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
    const table = { statuses: new Map([['resp_1', 'completed'], ...statuses]), incompleteSteps: 0, leftovers: 0 };
    expect(ledger.openCount()).toBe(1);
    expect(isClean(judgeEvidence({ ...makeEvidence(), ledger, table }))).toBe(false);
  });

  it.each<[string, JobKind, Partial<Produced>?]>([
    ['was cancelled', 'cancelled', { cancelled: new Map([['resp_1', 'cancelled']]) }],
    ['was deleted', 'deleted'],
    ['crashes its process', 'crashing'],
    ['got another id when its request was repeated', 'repeated', { repetitions: 1, otherIds: 1 }],
  ])('the findings are not clean if a job completed that %s', (_, kind, produced) => {
    const kinds = { ...makeEvidence().kinds, questions: { kind: () => kind } };
    const findings = judgeEvidence({ ...makeEvidence(), produced: makeProduced(produced), kinds });
    expect(countKindViolations(findings.kinds)).toBe(1);
    expect(isClean(findings)).toBe(false);
  });

  it.each<[string, Partial<Evidence>]>([
    ['a chain of invocations was stopped', { stoppedChains: 1 }],
    ['a completion step was left', { table: { ...makeEvidence().table, incompleteSteps: 1 } }],
    ['a deleted job left a body', { table: { ...makeEvidence().table, leftovers: 1 } }],
    ['a turn is wrong', { kinds: { ...makeEvidence().kinds, turns: { turns: 1, wrong: 1 } } }],
    ['a message is a dead letter', { kinds: { ...makeEvidence().kinds, deadLetters: new Set(['job']) } }],
    ['a poison message is gone', { produced: makeProduced({ started: 2, poison: new Map([['poison', 5]]) }) }],
    [
      'another job did the same work',
      {
        kinds: { ...makeEvidence().kinds, questions: { kind: () => 'repeated' } },
        upstream: { ...makeEvidence().upstream, countStreams: () => ({ ...ONE_STREAM, started: 2 }) },
      },
    ],
  ])('the findings are not clean if %s', (_, different) => {
    expect(isClean(judgeEvidence({ ...makeEvidence(), ...different }))).toBe(false);
  });

  it('the findings are clean if poison messages are dead letters, or a restart of SQS lost them', () => {
    const produced = makeProduced({
      started: 3,
      poison: new Map([
        ['lost', 4],
        ['dead', 6],
      ]),
    });
    const kinds = { ...makeEvidence().kinds, deadLetters: new Set(['dead']), restarts: [5] };
    expect(isClean(judgeEvidence({ ...makeEvidence(), produced, kinds }))).toBe(true);
  });

  it.each([
    { killEverySeconds: 0, tokens: 98, clean: true },
    { killEverySeconds: 0, tokens: 97, clean: false },
    { killEverySeconds: 1, tokens: 97, clean: true },
  ])(
    'the findings are clean: $clean, if $tokens of 100 tokens were committed and processes were killed each $killEverySeconds s',
    ({ killEverySeconds, tokens, clean }) => {
      const { ledger, create, update } = createObservedLedger();
      create();
      update('in_progress', 1);
      update('completed', 1, { usage: { M: { outputTokens: { N: String(tokens) } } } });
      const { options, ...evidence } = makeEvidence();
      const upstream = { ...evidence.upstream, countStreams: () => ({ ...ONE_STREAM, tokens: 110, cutTokens: 10 }) };
      const findings = judgeEvidence({ ...evidence, ledger, upstream, options: { ...options, killEverySeconds } });
      expect(findings.tokens).toEqual({ sent: 110, cut: 10, wasted: 100 - tokens });
      expect(isClean(findings)).toBe(clean);
    },
  );

  it('the findings are not clean if a job expired', () => {
    const { ledger, create, update } = createObservedLedger();
    create();
    update('expired', 1);
    const table = { ...makeEvidence().table, statuses: new Map([['resp_1', 'expired']]) };
    const findings = judgeEvidence({ ...makeEvidence(), ledger, table });
    expect(findings).toMatchObject({ expired: 1 });
    expect(isClean(findings)).toBe(false);
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
      const table = { statuses: new Map([['resp_1', 'failed']]), incompleteSteps: 0, leftovers: 0 };
      const upstream = {
        ...makeEvidence().upstream,
        countStreams: () => ({ started: 3, cut, tokens: 3, cutTokens: cut }),
      };
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
      brownoutEverySeconds: 0,
      faultMix: 'none',
    },
    seconds: 1,
    produced: makeProduced(),
    ledger,
    injected: { kills: {}, restarts: [], brownouts: {} },
    upstream: { calls: () => 1, counts: () => counts, countStreams: () => ONE_STREAM },
    replies: { received: () => 0, answers: new Map() },
    faults: undefined,
    table: { statuses: new Map([['resp_1', 'completed']]), incompleteSteps: 0, leftovers: 0 },
    responses: { checked: 1, wrong: 0 },
    kinds: {
      questions: { kind: () => 'plain' },
      turns: { turns: 0, wrong: 0 },
      deadLetters: new Set(),
      restarts: [],
    },
    stoppedChains: 0,
  };
}

/** Makes the record of a producer that submitted one job by HTTP. */
function makeProduced(more: Partial<Produced> = {}): Produced {
  return {
    accepted: new Map([['resp_1', 0]]),
    poison: new Map(),
    conversations: new Map(),
    cancelled: new Map(),
    started: 1,
    http: 1,
    queue: 0,
    httpRefusals: 0,
    forgotten: 0,
    repetitions: 0,
    otherIds: 0,
    ...more,
  };
}
