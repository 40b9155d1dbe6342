/**
 * `npm run chaos -- --jobs N [--seed S] [--json FILE]`: runs the local cloud under load while accidents befall it, and
 * finds out what became of every job. Ends with 1 when one was lost, committed twice, or failed by throttling alone.
 */
import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { runChaos } from './chaos/experiment.ts';
import { describe, isClean } from './chaos/report.ts';
import { WEATHERS, type Weather } from './chaos/torment.ts';
import { describeMachine, thisMachine } from './machine.ts';

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
      concurrency: { type: 'string', default: '12' },
      /** Mean seconds between two kills, and between two losses of the queues; 0 for none. */
      'kill-every': { type: 'string', default: '1.5' },
      'restart-every': { type: 'string', default: '20' },
      /** fair, changing or throttling. */
      weather: { type: 'string', default: 'changing' },
    },
  });
  const findings = await runChaos({
    jobs: wholeNumber('jobs', values.jobs),
    seed: values.seed === undefined ? randomInt(2 ** 31) : wholeNumber('seed', values.seed),
    hurry: wholeNumber('hurry', values.hurry),
    window: wholeNumber('window', values.window),
    concurrency: wholeNumber('concurrency', values.concurrency),
    killEverySeconds: Number(values['kill-every']),
    restartEverySeconds: Number(values['restart-every']),
    weather: weatherOf(values.weather),
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

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new Error(`--${name} wants a whole number`);
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? (error.stack ?? error.message) : error);
  process.exitCode = 2;
});
