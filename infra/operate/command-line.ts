import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import { closest, distance } from 'fastest-levenshtein';

/** The arguments of a command are invalid. The message gives the reason. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/**
 * Parses a command's arguments.
 * @throws UsageError for an unknown option, with the nearest known one, and for a missing or superfluous value
 */
export function parseOptions<const Options extends ParseArgsOptionsConfig>(args: readonly string[], options: Options) {
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options });
  } catch (thrown) {
    if (!(thrown instanceof Error)) throw thrown;
    const [, unknown] = /^Unknown option '([^']+)'/.exec(thrown.message) ?? [];
    if (unknown === undefined) throw new UsageError(thrown.message);
    const known = Object.keys(options).map((name) => `--${name}`);
    throw new UsageError(`unknown option ${unknown}${suggestName(unknown, known)}`);
  }
}

/** Returns `; did you mean NAME?` for the known name that is most similar, or an empty text if none is similar. */
export function suggestName(name: string, known: readonly string[]): string {
  if (known.length === 0) return '';
  const nearest = closest(name, [...known]);
  return distance(name, nearest) <= Math.max(2, name.length / 3) ? `; did you mean ${nearest}?` : '';
}

/** Returns the value of an argument. Throws UsageError with `rule` if it is missing or doesn't match `pattern`. */
export function checkArgument(argument: string, value: string | undefined, pattern: RegExp, rule: string): string {
  if (value === undefined || value === '') throw new UsageError(`${argument} is missing`);
  if (pattern.test(value)) return value;
  throw new UsageError(`${argument} has an invalid value: '${value}' (${rule})`);
}

/**
 * Runs a command with the shell's arguments, or prints its usage for `--help`. Prints an error as one line, with the usage
 * if the arguments are invalid, and sets the exit code.
 */
export async function runCommandLine(
  command: (args: readonly string[]) => Promise<void>,
  usage: string | ((args: readonly string[]) => string),
  args: readonly string[] = process.argv.slice(2),
): Promise<void> {
  const describeUsage = () => (typeof usage === 'string' ? usage : usage(args));
  // A reader such as `head` may close the pipe early.
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => process.exit(code === 'EPIPE' ? 0 : 1));
  if (args.includes('--help') || args.includes('-h')) return console.log(describeUsage());
  try {
    await command(args);
  } catch (thrown) {
    console.error(thrown instanceof Error ? thrown.message : thrown);
    if (thrown instanceof UsageError) console.error(`\n${describeUsage()}`);
    process.exitCode = 1;
  }
}
