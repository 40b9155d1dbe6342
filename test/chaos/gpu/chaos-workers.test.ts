import { describe, expect, test } from 'vitest';
import { runChaos } from '../experiment.ts';
import type { Entry, Ledger } from '../ledger.ts';
import { describe as describeFindings, isClean } from '../report.ts';
import type { EngineCall } from './engine-call.ts';
import { type GpuEvidence, isGpuClean, judgeGpu, spoiledAttempts } from './findings.ts';

/** More than these take too long beside all other tests; `npm run chaos` does as many as one likes. */
const JOBS = Number(process.env['CHAOS_JOBS'] ?? 100);

describe('the service with GPU workers under accidents', () => {
  test('loses no job, commits none twice, and leaves no slot taken', { timeout: 600_000 }, async () => {
    const findings = await runChaos({
      jobs: JOBS,
      seed: Number(process.env['CHAOS_SEED'] ?? 23),
      hurry: 6,
      window: 40,
      concurrency: 20,
      killEverySeconds: 2,
      restartEverySeconds: 10,
      weather: 'changing',
      gpu: { workers: 3, slots: 8, speed: 1, accidentEverySeconds: 1.5 },
    });
    expect(isClean(findings), describeFindings(findings)).toBe(true);
    expect(findings.accepted.total).toBe(JOBS);
    const { workers, calls, leakedLeases } = findings.gpu ?? {};
    expect(workers?.killed).toBeGreaterThan(0);
    expect(calls?.whole).toBeGreaterThanOrEqual(findings.completed);
    expect(leakedLeases).toBe(0);
  });
});

const call = (values: Partial<EngineCall>): EngineCall => ({
  start: 'gpu-1.1',
  call: 1,
  job: 0,
  begunAt: 100,
  end: 'whole',
  endedAt: 200,
  promptTokens: 50,
  cachedTokens: 20,
  computedTokens: 30,
  generatedTokens: 10,
  ...values,
});

const entry = (values: Partial<Entry>): Entry => ({
  id: 'resp_0',
  ends: 1,
  changedAfterEnd: 0,
  end: { status: 'completed', epoch: 1, errorCode: undefined, outputEpoch: '1' },
  endedAt: 1_000,
  usage: { inputTokens: 50, cachedTokens: 20, outputTokens: 10 },
  committedByOthers: 0,
  claims: [{ by: 'first', at: 90 }],
  releases: 0,
  killed: 0,
  frozen: 0,
  abandoned: 0,
  holder: undefined,
  ...values,
});

const ledgerOf = (known: Entry, kills: Readonly<Record<string, number>> = {}) => ({
  entries: new Map([[known.id, known]]) satisfies Ledger['entries'],
  killedAt: (by: string) => kills[by],
});

const accepted = new Map([['resp_0', 0]]);
const noChats = { asked: 0, answered: 0, wrong: 0, cut: 0, refused: {}, silent: 0, firstTokenMs: [] };
const seen = (values: Partial<GpuEvidence>): GpuEvidence => ({
  calls: [call({})],
  accidents: { workers: [], dispatchers: [], moved: 0 },
  chats: noChats,
  leakedLeases: 0,
  ...values,
});
const killed = { what: 'killed', start: 'gpu-1.1', at: 150, until: Number.POSITIVE_INFINITY } as const;

describe('the findings about workers', () => {
  test('waste nothing of a job that was done at once', () => {
    const findings = judgeGpu(seen({}), ledgerOf(entry({})), accepted);
    expect(findings).toMatchObject({
      calls: { total: 1, whole: 1, closed: 0, dead: 0 },
      uncommittedAnswers: 0,
      tokens: { generated: 10, generatedInVain: 0, computed: 30, computedInVain: 0 },
    });
    expect(isGpuClean(findings)).toBe(true);
  });

  test('count what was done for attempts that did not commit, and nothing of chats', () => {
    const calls = [
      call({ end: 'dead', generatedTokens: 4, endedAt: undefined }),
      call({ call: 2, computedTokens: 50, cachedTokens: 0 }),
      call({ call: 3 }),
      call({ job: undefined }),
    ];
    const findings = judgeGpu(seen({ calls }), ledgerOf(entry({})), accepted);
    expect(findings).toMatchObject({
      calls: { total: 3, whole: 2, dead: 1 },
      uncommittedAnswers: 1,
      tokens: { generated: 24, generatedInVain: 14, computed: 110, computedInVain: 80 },
    });
  });

  test("measure from a worker's death to the next claim and to the end, of what it was at", () => {
    const calls = [call({ end: 'dead', endedAt: undefined }), call({ call: 2, start: 'gpu-2.1', begunAt: 400 })];
    const accidents = { workers: [killed], dispatchers: [], moved: 0 };
    const late = call({ call: 3, end: 'dead', job: 7, endedAt: undefined });
    const claims = [
      { by: 'first', at: 90 },
      { by: 'second', at: 350 },
    ];
    const findings = judgeGpu(seen({ calls: [...calls, late], accidents }), ledgerOf(entry({ claims })), accepted);
    expect(findings.workerDeath).toEqual({
      claim: { count: 1, p50: 200, p99: 200 },
      end: { count: 1, p50: 850, p99: 850 },
    });
  });

  test("measure from a holder's death to the end of what it held, and of nothing else", () => {
    const claims = [
      { by: 'first', at: 90 },
      { by: 'second', at: 350 },
    ];
    // The second was killed when it had committed.
    const ledger = ledgerOf(entry({ claims }), { first: 300, second: 1_200 });
    expect(judgeGpu(seen({}), ledger, accepted).holderDeath.end).toEqual({ count: 1, p50: 700, p99: 700 });
  });

  test.each<[string, Partial<GpuEvidence>]>([
    ['a slot is still leased', { leakedLeases: 1 }],
    ['a chat got another answer', { chats: { ...noChats, wrong: 1 } }],
    ['a chat was left waiting', { chats: { ...noChats, silent: 1 } }],
    ['more was committed than the workers had said', { calls: [call({ generatedTokens: 9 })] }],
    ['an answer was committed that no worker sent whole', { calls: [call({ end: 'closed' })] }],
  ])('are not clean when %s', (_, different) => {
    expect(isGpuClean(judgeGpu(seen(different), ledgerOf(entry({})), accepted))).toBe(false);
  });
});

describe('an attempt counts as spoiled', () => {
  const hung = { ...killed, what: 'hung', until: 180 } as const;
  const frozen = { requestId: 'first', at: 120, until: 180 };
  const claims = [
    { by: 'first', at: 90 },
    { by: 'first', at: 300 },
  ];

  test.each<[string, number, Partial<GpuEvidence>, Record<string, number>?]>([
    ['when its worker died', 1, { calls: [call({ end: 'dead' })] }],
    ['when its worker hung', 1, { calls: [call({ end: 'closed' })], accidents: by([hung]) }],
    [
      'when its worker hung before it noticed',
      1,
      { calls: [call({ end: 'closed', begunAt: 190 })], accidents: by([hung]) },
    ],
    ['when its worker hung, and told nobody the rest', 1, { calls: [call({})], accidents: by([hung]) }],
    ['when its holder was killed', 1, {}, { first: 400 }],
    ['when its holder was killed as it claimed', 1, {}, { first: 295 }],
    ['when its holder was frozen', 1, { accidents: { ...by([]), dispatchers: [frozen] } }],
    ['not when nothing happened', 0, {}],
    ['not when its holder was killed after the end', 0, {}, { first: 1_200 }],
    ['not when another was frozen', 0, { accidents: { ...by([]), dispatchers: [{ ...frozen, requestId: 'other' }] } }],
    ['not when its connection was closed without an accident', 0, { calls: [call({ end: 'closed' })] }],
    [
      'not when another worker hung',
      0,
      { calls: [call({ end: 'closed' })], accidents: by([{ ...hung, start: 'gpu-2.1' }]) },
    ],
    [
      'not when the worker hung before',
      0,
      { calls: [call({ end: 'closed' })], accidents: by([{ ...hung, at: 10, until: 50 }]) },
    ],
    ['not when the call was none of its own', 0, { calls: [call({ end: 'dead', begunAt: 50 })] }],
  ])('%s', (_, expected, different, kills) => {
    const known = entry({ claims });
    const { calls, accidents } = seen({ calls: [], ...different });
    expect(spoiledAttempts(known, calls, accidents, ledgerOf(known, kills))).toBe(expected);
  });
});

function by(workers: GpuEvidence['accidents']['workers']): GpuEvidence['accidents'] {
  return { workers, dispatchers: [], moved: 0 };
}
