import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCommand, UsageError } from '../../../bench/placement/command.ts';
import { POLICIES } from '../../simulation/placement/simulate.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const parse = (line: string) => parseCommand(line.split(' ').filter((word) => word !== ''));

describe('parseCommand', () => {
  it('parseCommand parses the options of single simulations', () => {
    const words = '--trace a.gz --workers 3 --gpu a10g --scale 1.5 --policy lambent,random --seed 7 --no-jitter --json';
    expect(parse(words)).toEqual({
      policies: ['lambent', 'random'],
      run: {
        trace: { file: 'a.gz' },
        load: { scale: 1.5, jitter: false, seed: 7 },
        workers: 3,
        gpu: 'a10g',
      },
      capacity: false,
      json: true,
    });
  });

  it('parseCommand defaults single simulations to all policies on eight H100 and a synthetic trace', () => {
    expect(parse('--json')).toEqual({
      policies: POLICIES,
      run: { trace: { synthetic: 1 }, load: { scale: 1, jitter: true, seed: 1 }, workers: 8, gpu: 'h100' },
      capacity: false,
      json: true,
    });
    expect(parse('--capacity --seed 3')).toMatchObject({ capacity: true, run: { trace: { synthetic: 3 } } });
  });

  it('parseCommand selects the whole benchmark without options of single simulations', () => {
    const defaults = { traces: [], quick: false, seeds: undefined, publish: false };
    expect(parse('')).toEqual(defaults);
    expect(parse('--trace a --trace b --quick --runs 2 --publish')).toEqual({
      traces: ['a', 'b'],
      quick: true,
      seeds: 2,
      publish: true,
    });
  });

  it.each([
    ['--policy fastest', 'unknown policy fastest; known: round-robin'],
    ['--policy lambent,', 'unknown policy ; known: round-robin'],
    ['--gpu b200', 'unknown GPU b200; known: h100, a10g'],
    ['--workers 0', '--workers must be a whole number of at least 1, not 0'],
    ['--workers 2.5', '--workers must be a whole number of at least 1, not 2.5'],
    ['--workers many', '--workers must be a whole number of at least 1, not many'],
    ['--seed -1', "Option '--seed' argument is ambiguous"],
    ['--seed=-1', '--seed must be a whole number of at least 0, not -1'],
    ['--scale 0', '--scale must be a number above 0, not 0'],
    ['--scale Infinity', '--scale must be a number above 0, not Infinity'],
    ['--scale fast', '--scale must be a number above 0, not fast'],
    ['--runs 0', '--runs must be a whole number of at least 1, not 0'],
    ['--quick --json', '--quick, --runs and --publish apply to the whole benchmark only'],
    ['--trace a --trace b --json', 'single simulations accept one --trace'],
    ['--polcy lambent', "Unknown option '--polcy'"],
    ['lambent', "Unexpected argument 'lambent'"],
    ['--trace', "Option '--trace <value>' argument missing"],
  ])('parseCommand rejects the arguments %s', (words, message) => {
    expect(() => parse(words)).toThrow(UsageError);
    expect(() => parse(words)).toThrow(message);
  });
});

describe('npm run bench -- placement', () => {
  let folder: string;
  let trace: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lambent-placement-'));
    trace = join(folder, 'trace.jsonl');
    const lines = Array.from({ length: 40 }, (_, index) =>
      JSON.stringify({
        timestamp: 3_000 * Math.floor(index / 8),
        input_length: 2_100,
        output_length: 20,
        hash_ids: [0, 1 + (index % 4), 10 + (index % 4), 20 + index, 100 + index],
      }),
    );
    await writeFile(trace, lines.join('\n'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** Runs the command of `npm run bench`. */
  async function bench(line: string): Promise<{ code: number; stdout: string; stderr: string }> {
    const words = ['bench/bench.ts', 'placement', ...line.split(' ')];
    try {
      return { code: 0, ...(await promisify(execFile)(process.execPath, words, { cwd: ROOT })) };
    } catch (thrown) {
      const { code, stdout, stderr } = Object(thrown);
      return { code, stdout, stderr };
    }
  }

  it('the placement benchmark prints a JSON object for each policy with --json', async () => {
    const words = `--trace ${trace} --workers 2 --gpu h100 --scale 2 --policy round-robin,lambent --seed 5 --json`;
    const { code, stdout, stderr } = await bench(words);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const objects = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(objects.map(({ policy }) => policy)).toEqual(['round-robin', 'lambent']);
    for (const found of objects) {
      expect(found).toMatchObject({
        simulated: true,
        trace: { file: trace },
        load: { scale: 2, jitter: true, seed: 5 },
        workers: 2,
        gpu: 'h100',
        requests: 40,
        refused: 0,
        tooLong: 0,
        goodput: 1,
      });
      for (const share of ['prefixHitRate', 'utilisation', 'scaledGoodput', 'fairness']) {
        expect(found[share]).toBeGreaterThan(0);
        expect(found[share]).toBeLessThanOrEqual(1);
      }
      for (const times of [found.firstTokenMs, found.perTokenMs]) {
        expect(times.p50).toBeGreaterThan(0);
        expect(times.p99).toBeGreaterThanOrEqual(times.p50);
      }
    }
  });

  it('the placement benchmark prints one line for an invalid policy or trace and exits with 2', async () => {
    const cut = join(folder, 'cut.jsonl');
    await writeFile(cut, '{"timestamp": 0, "input_length": 10, "output_length": 1, "hash_ids": []}\n{"timest');
    const [options, nowhere, wrong] = await Promise.all([
      bench('--policy fastest'),
      bench(`--trace ${folder}/nowhere --json`),
      bench(`--trace ${cut} --json`),
    ]);
    expect(options).toEqual({
      code: 2,
      stdout: '',
      stderr: `unknown policy fastest; known: ${POLICIES.join(', ')}\n`,
    });
    expect(nowhere).toEqual({ code: 2, stdout: '', stderr: `the trace ${folder}/nowhere can’t be read\n` });
    expect(wrong).toEqual({ code: 2, stdout: '', stderr: `${cut}: line 2: it is not JSON\n` });
  });
});
