import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
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

/**
 * What the two turns of a task ask, and the answers that are expected. The number that the command prints isn't in the
 * command, so it can be in an answer only if the command ran.
 */
export const PROMPTS = {
  first: {
    prompt: 'Run the command: echo lambent-$((6*7))',
    answer: isGuide ? /not a language model|don't call tools/ : /printed lambent-42/,
  },
  next: { prompt: 'What did the command print?', answer: isGuide ? /\w/ : /had printed lambent-42/ },
};

/**
 * Runs a task of two turns: the program's shell tool computes a number, and the program continues the conversation.
 * @param first returns the first turn
 * @param next returns a turn that continues the conversation
 */
export async function runTask(first: (prompt: string) => Turn, next: (prompt: string) => Turn): Promise<void> {
  await check('tools', async () => {
    expectText(await run(first(PROMPTS.first.prompt)), PROMPTS.first.answer);
  });
  await check('second turn', async () => {
    expectText(await run(next(PROMPTS.next.prompt)), PROMPTS.next.answer);
  });
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
