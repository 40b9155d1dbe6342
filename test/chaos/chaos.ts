/**
 * `npm run chaos -- --jobs N [--workers N] [--mode standard|managed] [--seed S] [--json FILE]`: runs the local cloud under load while accidents befall
 * it, and finds out what became of every job. Ends with 1 when one was lost, committed twice, or failed by throttling alone.
 */
import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import { describeMachine, thisMachine } from '../measure/machine.ts';
import { runChaos } from './experiment.ts';
import type { LambdaMode } from './options.ts';
import { describe, isClean } from './report.ts';
import { WEATHERS, type Weather } from './torment.ts';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      jobs: { type: 'string', default: '1000' },
      seed: { type: 'string' },
      json: { type: 'string' },
      /** After them no more jobs are begun, and it is found out what became of those that were. */
      minutes: { type: 'string' },
      /** Times as short as in AWS are the intervals that recovery is made of. */
      hurry: { type: 'string', default: '5' },
      /** Jobs on their way at once. */
      window: { type: 'string', default: '200' },
      /** Invocations at once; 12, or 24 with workers, whose dispatchers wait for them. */
      concurrency: { type: 'string' },
      /** Mean seconds between two kills, and between two losses of the queues; 0 for none. */
      'kill-every': { type: 'string', default: '1.5' },
      'restart-every': { type: 'string', default: '20' },
      /** GPU workers, which then do the jobs, and may be killed and hang as well; what each takes at once, and its pace. */
      workers: { type: 'string', default: '0' },
      slots: { type: 'string', default: '32' },
      speed: { type: 'string', default: '0.5' },
      /** Mean seconds between two accidents of workers and of those who ask them; 0 for none. */
      'accident-every': { type: 'string', default: '3' },
      /** managed serves many invocations in one process, of every function; standard starts a process for each. */
      mode: { type: 'string', default: 'standard' },
      /** fair, changing or throttling. */
      weather: { type: 'string', default: 'changing' },
    },
  });
  const workers = wholeNumber('workers', values.workers);
  const gpu = {
    workers,
    slots: wholeNumber('slots', values.slots),
    speed: Number(values.speed),
    accidentEverySeconds: Number(values['accident-every']),
  };
  await bundleFunctions();
  const findings = await runChaos({
    jobs: wholeNumber('jobs', values.jobs),
    seed: values.seed === undefined ? randomInt(2 ** 31) : wholeNumber('seed', values.seed),
    hurry: wholeNumber('hurry', values.hurry),
    window: wholeNumber('window', values.window),
    concurrency: wholeNumber('concurrency', values.concurrency ?? (workers === 0 ? '12' : '24')),
    mode: modeOf(values.mode),
    killEverySeconds: Number(values['kill-every']),
    restartEverySeconds: Number(values['restart-every']),
    weather: weatherOf(values.weather),
    ...(workers === 0 ? {} : { gpu }),
    ...(values.minutes === undefined ? {} : { minutes: Number(values.minutes) }),
    onProgress: (line) => console.error(line),
  });
  const machine = thisMachine();
  console.log(`${describe(findings)}\n${describeMachine(machine)}`);
  if (values.json !== undefined) {
    await writeFile(values.json, `${JSON.stringify({ date: new Date().toISOString(), machine, findings }, null, 2)}\n`);
  }
  if (!isClean(findings)) process.exitCode = 1;
}

function weatherOf(text: string): Weather {
  const weather = WEATHERS.find((each) => each === text);
  if (weather !== undefined) return weather;
  throw new Error(`--weather wants one of ${WEATHERS.join(', ')}`);
}

function modeOf(text: string): LambdaMode {
  if (text === 'standard' || text === 'managed') return text;
  throw new Error('--mode wants standard or managed');
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new Error(`--${name} wants a whole number`);
}

// So that what is stopped at that moment is ended too.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(2));

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? (error.stack ?? error.message) : error);
  process.exitCode = 2;
});
