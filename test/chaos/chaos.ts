/**
 * `npm run chaos -- --jobs N [--workers N] [--mode standard|managed] [--seed S] [--json FILE]` runs the local cloud
 * under load, injects faults, and reports the outcome of every job. Exits with 1 if a job was lost, was committed
 * twice, or failed because of throttling alone, or if another check of `docs/chaos.md` failed.
 */
import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { describeMachine, readMachine } from '../measure/machine.ts';
import { runChaos } from './experiment.ts';
import { FAULT_MIXES, type FaultMix } from './fault-injection.ts';
import { describeFindings, isClean } from './findings.ts';
import type { LambdaMode } from './options.ts';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      jobs: { type: 'string', default: '1000' },
      seed: { type: 'string' },
      json: { type: 'string' },
      /** Minutes after which no more jobs are started. */
      minutes: { type: 'string' },
      /** Divides the service's recovery intervals. */
      divisor: { type: 'string', default: '5' },
      /** Maximum of unfinished jobs. */
      window: { type: 'string', default: '200' },
      /** Maximum of concurrent invocations. Default: 12, or 24 with workers, because dispatchers wait for slots. */
      concurrency: { type: 'string' },
      /** Mean seconds between two kills, between two restarts of SQS, and between two brownouts; 0 for never. */
      'kill-every': { type: 'string', default: '1.5' },
      'restart-every': { type: 'string', default: '20' },
      'brownout-every': { type: 'string', default: '20' },
      /**
       * Number of GPU workers, which run the jobs and may die or hang; concurrent requests and speed of each worker.
       */
      workers: { type: 'string', default: '0' },
      slots: { type: 'string', default: '32' },
      speed: { type: 'string', default: '0.5' },
      /** Mean seconds between two faults of workers or dispatchers; 0 for never. */
      'worker-fault-every': { type: 'string', default: '3' },
      /** `managed`: one process of a function serves many invocations at once. `standard`: one at a time. */
      mode: { type: 'string', default: 'standard' },
      /** none, changing or throttling. */
      faults: { type: 'string', default: 'changing' },
    },
  });
  const workers = parseWholeNumber('workers', values.workers);
  const gpu = {
    workers,
    slots: parseWholeNumber('slots', values.slots),
    speed: Number(values.speed),
    faultEverySeconds: Number(values['worker-fault-every']),
  };
  await bundleFunctions();
  const findings = await runChaos({
    jobs: parseWholeNumber('jobs', values.jobs),
    seed: values.seed === undefined ? randomInt(2 ** 31) : parseWholeNumber('seed', values.seed),
    divisor: parseWholeNumber('divisor', values.divisor),
    window: parseWholeNumber('window', values.window),
    concurrency: parseWholeNumber('concurrency', values.concurrency ?? (workers === 0 ? '12' : '24')),
    mode: parseMode(values.mode),
    killEverySeconds: Number(values['kill-every']),
    restartEverySeconds: Number(values['restart-every']),
    brownoutEverySeconds: Number(values['brownout-every']),
    faultMix: parseFaultMix(values.faults),
    ...(workers === 0 ? {} : { gpu }),
    ...(values.minutes === undefined ? {} : { minutes: Number(values.minutes) }),
    onProgress: (line) => console.error(line),
  });
  const machine = readMachine();
  console.log(`${describeFindings(findings)}\n${describeMachine(machine)}`);
  if (values.json !== undefined) {
    await writeFile(values.json, `${JSON.stringify({ date: new Date().toISOString(), machine, findings }, null, 2)}\n`);
  }
  if (!isClean(findings)) process.exitCode = 1;
}

function parseFaultMix(text: string): FaultMix {
  const mix = FAULT_MIXES.find((each) => each === text);
  if (mix !== undefined) return mix;
  throw new Error(`--faults must be one of ${FAULT_MIXES.join(', ')}`);
}

function parseMode(text: string): LambdaMode {
  if (text === 'standard' || text === 'managed') return text;
  throw new Error('--mode must be standard or managed');
}

function parseWholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new Error(`--${name} must be a whole number, 0 or more`);
}

// The default action of a signal would not call the `exit` listeners, which resume or kill stopped child processes.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(2));

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? (error.stack ?? error.message) : error);
  process.exitCode = 2;
});
