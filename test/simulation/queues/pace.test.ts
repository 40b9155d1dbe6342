import { expect, it } from 'vitest';
import { LambentError } from '../../../shared/core/errors.ts';
import type { JobTier } from '../../../shared/jobs/job.ts';
import type { PaceTable } from '../../../shared/jobs/pace-table.ts';
import type { VirtualTime } from '../virtual-time.ts';
import { runEngine } from './engine-run.ts';
import { ACCEPTED_PER_SECOND, type Call, FIRST_TOKEN_MS, THROTTLED_MS, ThrottledModel } from './throttled-model.ts';
import type { SimulatedJob } from './workload.ts';

const MINUTE_MS = 60_000;
const JOB_MS = 4_000;
const INVOCATIONS = 5;
const PLACES_PER_INVOCATION = 10;
const TABLE_LATENCY_MS = 5;

/** Adds a request's latency to a table of states, and counts the write units of DynamoDB. A refused write costs one too. */
function observeTable(table: PaceTable, getTime: () => VirtualTime | undefined) {
  let units = 0;
  const wait = async (cost: number) => {
    units += cost;
    await getTime()?.sleep(TABLE_LATENCY_MS);
  };
  const observed: PaceTable = {
    read: async (...parameters) => wait(0.5).then(() => table.read(...parameters)),
    take: async (...parameters) => wait(1).then(() => table.take(...parameters)),
    accept: async (...parameters) => wait(1).then(() => table.accept(...parameters)),
    open: async (...parameters) => wait(1).then(() => table.open(...parameters)),
    recordThrottled: async (...parameters) => wait(1).then(() => table.recordThrottled(...parameters)),
  };
  return { observed, getUnits: () => units };
}

function makeJobs(count: number, model: string, everyMs: number, durationMs: number, tier: JobTier): SimulatedJob[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `${model}${index}`,
    tenant: model,
    model,
    tier,
    arrivesAtMs: index * everyMs,
    durationMs,
  }));
}

async function runThrottled({ tier }: { readonly tier: JobTier }) {
  const model = new ThrottledModel();
  let clock: VirtualTime | undefined;
  const { observed, getUnits } = observeTable(model.paceTable, () => clock);
  const others = makeJobs(660, 'other', 1_000, 1_000, 'default');
  const run = await runEngine({
    jobs: [...makeJobs(1_400, 'throttled', 0, JOB_MS, tier), ...others],
    invocations: INVOCATIONS,
    placesPerInvocation: PLACES_PER_INVOCATION,
    paceTable: observed,
    callModel: async (name, time) => {
      clock = time;
      if (name === 'throttled') await model.call(time);
    },
    seed: 5,
    untilMs: 40 * MINUTE_MS,
  });
  return { model, run, units: getUnits() };
}

it.each<JobTier>(['default', 'flex'])(
  'a throttled model gets at most twice the calls that it accepts and a probe per second, and is used, for %s work',
  async (tier) => {
    const { model, run, units } = await runThrottled({ tier });
    const isAccepted = ({ accepted }: Call) => accepted;
    const seconds = THROTTLED_MS / 1_000;
    const calls = model.count(1_000, THROTTLED_MS);
    const accepted = model.count(0, THROTTLED_MS, isAccepted);
    expect(run.unfinished).toBe(0);
    expect(calls).toBeLessThanOrEqual(2 * accepted + seconds);
    expect(accepted).toBeGreaterThanOrEqual(0.8 * ACCEPTED_PER_SECOND * seconds);
    // Nothing is claimed without a permit: a claim for each call, and a release for each that is refused.
    expect(run.claims).toBe(run.attempts);
    // At most twice the accepted calls and a probe are claimed per second, and the others of them released.
    expect((calls + calls - accepted) / seconds).toBeLessThanOrEqual(3 * ACCEPTED_PER_SECOND + 2);
    const places = INVOCATIONS * PLACES_PER_INVOCATION;
    const fullSpeed = (places * 10_000) / (JOB_MS + FIRST_TOKEN_MS);
    expect(model.count(THROTTLED_MS + 3_000, THROTTLED_MS + 13_000)).toBeGreaterThanOrEqual(0.8 * fullSpeed);
    const waitsMs = run.runs
      .filter(({ tenant }) => tenant === 'other')
      .map(({ startsAtMs, arrivesAtMs }) => startsAtMs - arrivesAtMs);
    expect(Math.max(...waitsMs)).toBeLessThan(2_000);
    // As documented: two write units a second for each environment, and two for each call.
    expect(units).toBeLessThanOrEqual(2 * INVOCATIONS * seconds + 2 * model.calls.length);
  },
);

it('jobs that a limit refuses leave the calls that a throttled model accepts to the jobs of other tenants', async () => {
  const model = new ThrottledModel();
  const refused = makeJobs(400, 'refused', 0, JOB_MS, 'default').map((job) => ({ ...job, model: 'throttled' }));
  let refusals = 0;
  const run = await runEngine({
    jobs: [...refused, ...makeJobs(1_400, 'throttled', 0, JOB_MS, 'default')],
    invocations: INVOCATIONS,
    placesPerInvocation: PLACES_PER_INVOCATION,
    paceTable: model.paceTable,
    callModel: async (_model, time, tenant) => {
      if (tenant === 'refused' && time.now() < THROTTLED_MS) {
        refusals += 1;
        throw new LambentError('rate_limit_exceeded', 'The budget is exhausted', { isUnasked: true });
      }
      await model.call(time);
    },
    seed: 5,
    untilMs: 60 * MINUTE_MS,
  });
  const accepted = model.count(0, THROTTLED_MS, (call) => call.accepted);
  expect(run.unfinished).toBe(0);
  expect(refusals).toBeGreaterThan(accepted);
  expect(accepted).toBeGreaterThanOrEqual(0.8 * ACCEPTED_PER_SECOND * (THROTTLED_MS / 1_000));
});
