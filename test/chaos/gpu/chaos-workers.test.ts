import { describe, expect, it } from 'vitest';
import { runChaos } from '../experiment.ts';
import { describeFindings, isClean } from '../findings.ts';
import type { Entry, Ledger } from '../ledger.ts';
import type { EngineCall } from './engine-call.ts';
import { countSpoiled, type GpuEvidence, isGpuClean, judgeGpu } from './findings.ts';

/** Number of jobs, small for the test suite. */
const JOBS = Number(process.env['CHAOS_JOBS'] ?? 100);

describe('the service with GPU workers under faults', () => {
  it('the service with GPU workers under faults loses no job, commits none twice, and leaves no slot leased', {
    timeout: 1_800_000,
  }, async () => {
    const findings = await runChaos({
      jobs: JOBS,
      seed: Number(process.env['CHAOS_SEED'] ?? 23),
      divisor: 6,
      window: 40,
      concurrency: 20,
      killEverySeconds: 2,
      restartEverySeconds: 10,
      brownoutEverySeconds: 0,
      faultMix: 'changing',
      faultMinutes: 3,
      gpu: { workers: 3, slots: 8, speed: 1, faultEverySeconds: 1.5 },
    });
    expect(isClean(findings), describeFindings(findings)).toBe(true);
    expect(findings.accepted.total).toBe(JOBS);
    const { workers, calls, leakedLeases } = findings.gpu ?? {};
    expect(workers?.killed).toBeGreaterThan(0);
    expect(calls?.whole).toBeGreaterThanOrEqual(findings.completed);
    expect(leakedLeases).toBe(0);
  });
});

const makeCall = (values: Partial<EngineCall>): EngineCall => ({
  start: 'gpu-1.1',
  call: 1,
  job: 0,
  startedAt: 100,
  end: 'whole',
  endedAt: 200,
  promptTokens: 50,
  cachedTokens: 20,
  computedTokens: 30,
  generatedTokens: 10,
  ...values,
});

const makeEntry = (values: Partial<Entry>): Entry => ({
  id: 'resp_0',
  ends: 1,
  changedAfterEnd: 0,
  end: { status: 'completed', epoch: 1, errorCode: undefined, outputEpoch: '1' },
  endedAt: 1_000,
  usage: { inputTokens: 50, cachedTokens: 20, outputTokens: 10 },
  committedByOthers: 0,
  claims: [{ invocation: 'first', at: 90 }],
  releases: 0,
  killed: 0,
  frozen: 0,
  abandoned: 0,
  holder: undefined,
  ...values,
});

const makeLedger = (known: Entry, kills: Readonly<Record<string, number>> = {}) => ({
  entries: new Map([[known.id, known]]) satisfies Ledger['entries'],
  killedAt: (by: string) => kills[by],
});

const accepted = new Map([['resp_0', 0]]);
const noChats = { asked: 0, answered: 0, wrong: 0, cut: 0, refused: {}, unanswered: 0, firstTokenMs: [] };
const makeEvidence = (values: Partial<GpuEvidence>): GpuEvidence => ({
  calls: [makeCall({})],
  faults: { workers: [], dispatchers: [], moved: 0 },
  chats: noChats,
  leakedLeases: 0,
  ...values,
});
const killed = { kind: 'killed', start: 'gpu-1.1', at: 150, until: Number.POSITIVE_INFINITY } as const;

describe('the findings about workers', () => {
  it('the findings count no waste for a job that completed at its first attempt', () => {
    const findings = judgeGpu(makeEvidence({}), makeLedger(makeEntry({})), accepted);
    expect(findings).toMatchObject({
      calls: { total: 1, whole: 1, closed: 0, dead: 0 },
      uncommittedAnswers: 0,
      tokens: { generated: 10, wastedGenerated: 0, computed: 30, wastedComputed: 0 },
    });
    expect(isGpuClean(findings)).toBe(true);
  });

  it('the findings count the work of attempts that did not commit, without chats', () => {
    const calls = [
      makeCall({ end: 'dead', generatedTokens: 4, endedAt: undefined }),
      makeCall({ call: 2, computedTokens: 50, cachedTokens: 0 }),
      makeCall({ call: 3 }),
      makeCall({ job: undefined }),
    ];
    const findings = judgeGpu(makeEvidence({ calls }), makeLedger(makeEntry({})), accepted);
    expect(findings).toMatchObject({
      calls: { total: 3, whole: 2, dead: 1 },
      uncommittedAnswers: 1,
      tokens: { generated: 24, wastedGenerated: 14, computed: 110, wastedComputed: 80 },
    });
  });

  it("the findings measure the time from a worker's death to the next claim and to the end of its jobs", () => {
    const calls = [
      makeCall({ end: 'dead', endedAt: undefined }),
      makeCall({ call: 2, start: 'gpu-2.1', startedAt: 400 }),
    ];
    const faults = { workers: [killed], dispatchers: [], moved: 0 };
    const late = makeCall({ call: 3, end: 'dead', job: 7, endedAt: undefined });
    const claims = [
      { invocation: 'first', at: 90 },
      { invocation: 'second', at: 350 },
    ];
    const findings = judgeGpu(
      makeEvidence({ calls: [...calls, late], faults }),
      makeLedger(makeEntry({ claims })),
      accepted,
    );
    expect(findings.workerDeath).toEqual({
      claim: { count: 1, p50: 200, p99: 200 },
      end: { count: 1, p50: 850, p99: 850 },
    });
  });

  it("the findings measure the time from a holder's death to the end of the jobs that it held", () => {
    const claims = [
      { invocation: 'first', at: 90 },
      { invocation: 'second', at: 350 },
    ];
    // The second holder was killed after its commit.
    const ledger = makeLedger(makeEntry({ claims }), { first: 300, second: 1_200 });
    expect(judgeGpu(makeEvidence({}), ledger, accepted).holderDeath.end).toEqual({ count: 1, p50: 700, p99: 700 });
  });

  it.each<[string, Partial<GpuEvidence>]>([
    ['a slot is still leased', { leakedLeases: 1 }],
    ['a chat got another answer', { chats: { ...noChats, wrong: 1 } }],
    ['a chat got no answer', { chats: { ...noChats, unanswered: 1 } }],
    ['more tokens were committed than workers generated', { calls: [makeCall({ generatedTokens: 9 })] }],
    ['a committed answer was not sent completely by any worker', { calls: [makeCall({ end: 'closed' })] }],
  ])('the findings are not clean if %s', (_, different) => {
    expect(isGpuClean(judgeGpu(makeEvidence(different), makeLedger(makeEntry({})), accepted))).toBe(false);
  });
});

describe('an attempt of a job', () => {
  const hung = { ...killed, kind: 'hung', until: 180 } as const;
  const frozen = { requestId: 'first', at: 120, until: 180 };
  const claims = [
    { invocation: 'first', at: 90 },
    { invocation: 'first', at: 300 },
  ];

  it.each<[string, number, Partial<GpuEvidence>, Record<string, number>?]>([
    ['is spoiled if its worker died', 1, { calls: [makeCall({ end: 'dead' })] }],
    ['is spoiled if its worker hung', 1, { calls: [makeCall({ end: 'closed' })], faults: makeFaults([hung]) }],
    [
      'is spoiled if its worker hung before it accepted the request',
      1,
      { calls: [makeCall({ end: 'closed', startedAt: 190 })], faults: makeFaults([hung]) },
    ],
    [
      'is spoiled if its worker hung and then sent the rest to a closed connection',
      1,
      { calls: [makeCall({})], faults: makeFaults([hung]) },
    ],
    ['is spoiled if its holder was killed', 1, {}, { first: 400 }],
    ['is spoiled if its holder was killed during the claim', 1, {}, { first: 295 }],
    ['is spoiled if its holder was frozen', 1, { faults: { ...makeFaults([]), dispatchers: [frozen] } }],
    ['is not spoiled without a fault', 0, {}],
    ['is not spoiled if its holder was killed after the end', 0, {}, { first: 1_200 }],
    [
      'is not spoiled if another holder was frozen',
      0,
      { faults: { ...makeFaults([]), dispatchers: [{ ...frozen, requestId: 'other' }] } },
    ],
    ['is not spoiled if its connection was closed without a fault', 0, { calls: [makeCall({ end: 'closed' })] }],
    [
      'is not spoiled if another worker hung',
      0,
      { calls: [makeCall({ end: 'closed' })], faults: makeFaults([{ ...hung, start: 'gpu-2.1' }]) },
    ],
    [
      'is not spoiled if its worker hung before',
      0,
      { calls: [makeCall({ end: 'closed' })], faults: makeFaults([{ ...hung, at: 10, until: 50 }]) },
    ],
    ['is not spoiled by the call of another attempt', 0, { calls: [makeCall({ end: 'dead', startedAt: 50 })] }],
  ])('an attempt %s', (_, expected, different, kills) => {
    const known = makeEntry({ claims });
    const { calls, faults } = makeEvidence({ calls: [], ...different });
    expect(countSpoiled(known, calls, faults, makeLedger(known, kills))).toBe(expected);
  });
});

function makeFaults(workers: GpuEvidence['faults']['workers']): GpuEvidence['faults'] {
  return { workers, dispatchers: [], moved: 0 };
}
