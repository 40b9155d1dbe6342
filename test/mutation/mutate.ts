import { globSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { installDependencies } from '../../infra/install.ts';
import { EQUIVALENT_MUTANTS } from './equivalent-mutants.ts';
import { installMutators, type Sample } from './mutators.ts';
import { SUITES, type Suite } from './suites.ts';

/** What became of one mutant, as Stryker reports it. Lines and columns begin at 1. */
interface MutantResult {
  readonly fileName: string;
  readonly mutatorName: string;
  readonly replacement?: string;
  readonly status: 'Killed' | 'Survived' | 'NoCoverage' | 'Timeout' | 'CompileError' | 'RuntimeError' | 'Ignored';
  readonly location: { readonly start: Position; readonly end: Position };
}

interface Position {
  readonly line: number;
  readonly column: number;
}

/** A mutant that no test caught. */
interface Survivor {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly mutator: string;
  readonly original: string;
  readonly replacement: string;
  readonly isCovered: boolean;
  readonly reason: string | undefined;
}

interface Summary {
  readonly suite: string;
  readonly mutants: number;
  readonly caught: number;
  readonly equivalent: number;
  readonly survivors: readonly Survivor[];
}

const ROOT = join(import.meta.dirname, '../..');
const RESULTS = join(ROOT, '.build/mutation');

/** Runs the mutants of the given files, or of all suites, and prints those that survive and the score of each suite. */
async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seed: { type: 'string', default: '1' },
      share: { type: 'string', default: '1' },
      workers: { type: 'string', default: '2' },
    },
  });
  const sample = { seed: values.seed, share: Number(values.share) };
  process.chdir(ROOT);
  await installDependencies(import.meta.dirname);
  await mkdir(RESULTS, { recursive: true });
  const summaries: Summary[] = [];
  for (const suite of SUITES) {
    const files = globSync(suite.sources).filter((file) => isWanted(file, positionals));
    if (files.length === 0) continue;
    const summary = await runSuite(suite, files, sample, Number(values.workers));
    await writeFile(join(RESULTS, `${suite.name}.json`), JSON.stringify(summary, null, 2));
    printSurvivors(summary);
    summaries.push(summary);
  }
  printScores(summaries);
}

function isWanted(file: string, paths: readonly string[]): boolean {
  return paths.length === 0 || paths.some((path) => file === path || file.startsWith(`${path.replace(/\/$/, '')}/`));
}

async function runSuite(suite: Suite, files: readonly string[], sample: Sample, concurrency: number): Promise<Summary> {
  await installMutators(sample);
  process.env['MUTATION_TESTS'] = suite.tests.join(',');
  const { Stryker } = await import(join(import.meta.dirname, 'node_modules/@stryker-mutator/core/dist/src/index.js'));
  const results: readonly MutantResult[] = await new Stryker({
    mutate: files,
    concurrency,
    testRunner: 'vitest',
    vitest: { configFile: 'test/mutation/vitest.config.ts', related: false },
    coverageAnalysis: 'perTest',
    reporters: ['progress-append-only'],
    tempDirName: '.build/stryker',
    cleanTempDir: 'always',
    ignorePatterns: ['.build', 'bench', 'docs', 'test/mutation/node_modules'],
    // Stryker rewrites this file with the compiler's JavaScript interface, which TypeScript 7 doesn't have.
    tsconfigFile: 'none',
    disableTypeChecks: false,
    timeoutMS: 30_000,
    dryRunTimeoutMinutes: 15,
  }).runMutationTest();
  return summarize(suite.name, results);
}

async function summarize(suite: string, results: readonly MutantResult[]): Promise<Summary> {
  const counted = results.filter(({ status }) => status !== 'CompileError' && status !== 'Ignored');
  const alive = counted.filter(({ status }) => status === 'Survived' || status === 'NoCoverage');
  const survivors = await Promise.all(alive.map(describeSurvivor));
  const equivalent = survivors.filter(({ reason }) => reason !== undefined).length;
  return { suite, mutants: counted.length, caught: counted.length - alive.length, equivalent, survivors };
}

async function describeSurvivor(result: MutantResult): Promise<Survivor> {
  const { location, replacement = '', mutatorName: mutator, status } = result;
  const file = relative(ROOT, result.fileName);
  const { start, end } = location;
  const lines = (await readFile(result.fileName, 'utf8')).split('\n').slice(start.line - 1, end.line);
  const line = lines[0]?.trim();
  const last = lines.length - 1;
  lines[last] = lines[last]?.slice(0, end.column - 1) ?? '';
  const original = lines.join('\n').slice(start.column - 1);
  const onOneLine = replacement.replaceAll(/\s+/g, ' ');
  const known = EQUIVALENT_MUTANTS.find(
    (mutant) => mutant.file === file && mutant.line === line && mutant.replacement === onOneLine,
  );
  const isCovered = status !== 'NoCoverage';
  return { file, line: start.line, mutator, original, replacement, isCovered, reason: known?.reason };
}

function printSurvivors({ survivors }: Summary): void {
  for (const { file, line, mutator, original, replacement, isCovered } of survivors.filter(
    ({ reason }) => reason === undefined,
  ))
    console.log(
      `${file}:${line} ${mutator}${isCovered ? '' : ' (no test runs it)'}\n- ${indent(original)}\n+ ${indent(replacement)}\n`,
    );
}

function indent(text: string): string {
  return text.replaceAll('\n', '\n  ');
}

function printScores(summaries: readonly Summary[]): void {
  console.log('| part | mutants | caught | equivalent | survived | score |\n|---|---|---|---|---|---|');
  const total = { mutants: 0, caught: 0, equivalent: 0 };
  for (const summary of summaries) {
    printScore(summary.suite, summary);
    total.mutants += summary.mutants;
    total.caught += summary.caught;
    total.equivalent += summary.equivalent;
  }
  printScore('all', total);
}

/** The score is the share of mutants that were caught, of those that can be. */
function printScore(name: string, { mutants, caught, equivalent }: Omit<Summary, 'suite' | 'survivors'>): void {
  const score = mutants > equivalent ? `${((100 * caught) / (mutants - equivalent)).toFixed(1)}%` : '';
  console.log(`| ${name} | ${mutants} | ${caught} | ${equivalent} | ${mutants - caught - equivalent} | ${score} |`);
}

await main();
