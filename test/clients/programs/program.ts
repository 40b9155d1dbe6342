import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { check, expectText, isGuide } from '../node/check.ts';

export { apiKey, baseURL } from '../node/check.ts';

/** The program's home folder, which is empty at first. */
export const home = process.env['HOME'] ?? '';

/** How a program is run for one turn of a conversation. */
export interface Turn {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const FILES = { first: 'first.txt', second: 'second.txt' };

/**
 * What the two turns ask, and the answers that are expected. The numbers are in a file and computed by the command, so they
 * can be in an answer only if the program carried out the calls. The pause lets programs that read a command's output in the
 * background see it before its end.
 */
const PROMPTS = {
  first: {
    prompt:
      `Do the task in ${process.cwd()}: read ${FILES.first} and ${FILES.second}, ` +
      'replace draft by final in the first, then run the command: sleep 1; echo lambent-$((6*7))',
    answer: isGuide ? /not a language model|don't call tools/ : /printed lambent-1001 and lambent-42/,
  },
  next: { prompt: 'What did the command print?', answer: isGuide ? /\w/ : /had printed lambent-42/ },
};

/** Asks a question and returns what the program answers. */
export type Ask = (prompt: string) => Promise<string>;

/**
 * Runs a whole task in two turns: the program reads two files, edits one of them and runs a command, and then continues the
 * conversation.
 * @param next asks in the same conversation
 */
export async function checkTask(first: Ask, next: Ask): Promise<void> {
  await writeFile(FILES.first, 'draft\n');
  await writeFile(FILES.second, 'lambent-1001\n');
  await check('whole task', async () => {
    expectText(await first(PROMPTS.first.prompt), PROMPTS.first.answer);
    assert.equal(await readFile(FILES.first, 'utf8'), isGuide ? 'draft\n' : 'final\n');
  });
  await check('second turn', async () => {
    expectText(await next(PROMPTS.next.prompt), PROMPTS.next.answer);
  });
}

/** Runs the task with a program that is started for each turn. */
export function runTask(first: (prompt: string) => Turn, next: (prompt: string) => Turn): Promise<void> {
  return checkTask(
    (prompt) => run(first(prompt)),
    (prompt) => run(next(prompt)),
  );
}

/** Runs a program to its end and returns what it printed. */
export async function run({ command, args, env = {} }: Turn): Promise<string> {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk;
    });
  }
  const code = await new Promise((resolve) => child.on('error', resolve).on('close', resolve));
  assert.equal(code, 0, `${command} ended with ${code}: ${output.slice(-1_500)}`);
  return output;
}

/** Returns the path of a file in the package of a program. */
export function findFile(packageName: string, file: string): string {
  const require = createRequire(join(import.meta.dirname, 'package.json'));
  return join(dirname(require.resolve(`${packageName}/package.json`)), file);
}

/** Returns the path of a program that its package has for each system: their install scripts, which copy it, don't run. */
export function findNative(prefix: string, file: string): string {
  return findFile(`${prefix}-${process.platform}-${process.arch}`, file);
}
