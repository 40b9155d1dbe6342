import { hash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import * as v from 'valibot';

const ROOT = resolve(import.meta.dirname, '../..');

/** A file's change time may lag behind the clock by the kernel's tick (10 ms at most), on a file server by more. */
const CHANGE_TIME_TOLERANCE_MS = 100;

/** What one build read and wrote. As long as neither has changed, the build need not be repeated. */
const recordSchema = v.object({
  /** Files that esbuild read, relative to the repository. */
  inputs: v.array(v.string()),
  /** `InputDigests.fingerprint(inputs)` at the time of the build. */
  fingerprint: v.string(),
  /** Digests of the files that the build wrote, by their paths relative to the output folder. */
  outputs: v.record(v.string(), v.string()),
  /** True if the function reads the model registry, which then lies beside its code. */
  readsRegistry: v.boolean(),
});
export type BuildRecord = v.InferOutput<typeof recordSchema>;

/** Reads a record. Returns undefined if there is none, or if it is damaged. */
export function readBuildRecord(file: string): BuildRecord | undefined {
  const text = readIfPresent(file)?.toString('utf8');
  const record = v.safeParse(v.pipe(v.string(), v.parseJson(), recordSchema), text);
  return record.success ? record.output : undefined;
}

/**
 * Digests of everything that decides what esbuild makes of a source file. An instance reads each file and folder once, so that
 * functions which share sources share the work. Use one instance for one run.
 */
export class InputDigests {
  readonly #files = new Map<string, string>();
  readonly #folders = new Map<string, readonly string[]>();
  readonly #listed = new Set<string>();
  readonly #tools: string;

  /** Digests the tools: Node (which modules are builtins), esbuild, and the code in this folder. */
  constructor() {
    this.#tools = [process.version, process.env['NODE_PATH'] ?? '', ...toolFiles().map(digestFile)].join('\n');
  }

  /**
   * Returns the fingerprint of a build: its tools, the contents of its inputs, and what esbuild's module resolution depends on. That
   * is the names beside each input and the `node_modules` folders above it, where a new file could take the place of an input,
   * and each `package.json` and `tsconfig.json` on the way up.
   * @param inputs paths relative to the repository
   */
  fingerprint(inputs: readonly string[]): string {
    const parts = [this.#tools];
    const files = inputs.map((input) => resolve(ROOT, input)).sort();
    for (const file of files) parts.push(file, this.digest(file));
    const holders = new Set(files.map((file) => dirname(file)));
    for (const folder of holders) this.#listed.add(folder);
    for (const folder of [...new Set([...holders].flatMap(withAncestors))].sort()) {
      const names = this.#namesIn(folder);
      const relevant = holders.has(folder) ? names : names.filter((name) => name === 'node_modules');
      const settings = SETTINGS.filter((name) => names.includes(name)).map((name) => join(folder, name));
      parts.push(folder, ...relevant, ...settings.map((file) => this.digest(file)));
    }
    return hash('sha256', parts.join('\n'));
  }

  /** Returns the SHA-256 of a file; `absent` if there is none. */
  digest(file: string): string {
    const known = this.#files.get(file);
    if (known !== undefined) return known;
    const digest = digestFile(file);
    this.#files.set(file, digest);
    return digest;
  }

  /**
   * Returns true if no input has changed since a build began, and no tool since this process loaded it: the fingerprint is then
   * that of the build. It relies on change times, which programs can't set back as they can modification times.
   * @param buildStartedAt epoch ms
   */
  isUnchangedSince(buildStartedAt: number): boolean {
    const isOlder = (time: number) => (file: string) => {
      const stats = statSync(file, { throwIfNoEntry: false });
      return stats === undefined || stats.ctimeMs < time - CHANGE_TIME_TOLERANCE_MS;
    };
    return (
      [...this.#files.keys(), ...this.#listed].every(isOlder(buildStartedAt)) &&
      toolFiles().every(isOlder(performance.timeOrigin))
    );
  }

  #namesIn(folder: string): readonly string[] {
    const known = this.#folders.get(folder);
    if (known !== undefined) return known;
    const names = namesIn(folder);
    this.#folders.set(folder, names);
    return names;
  }
}

/** Files in which esbuild finds how to resolve and compile the modules below them. */
const SETTINGS = ['package.json', 'tsconfig.json'];

function toolFiles(): string[] {
  const own = namesIn(import.meta.dirname).filter((name) => name.endsWith('.ts'));
  return [join(ROOT, 'node_modules/esbuild/package.json'), ...own.map((name) => join(import.meta.dirname, name))];
}

/** Names in a folder, without those that editors use for their own files and no import has. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => !name.startsWith('.') && !name.endsWith('~'))
      .sort();
  } catch {
    return [];
  }
}

/** A folder, and each folder above it. */
function withAncestors(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...withAncestors(parent)];
}

/** Returns the SHA-256 of a file; `absent` if there is none. */
export function digestFile(file: string): string {
  const contents = readIfPresent(file);
  return contents === undefined ? 'absent' : hash('sha256', contents);
}

function readIfPresent(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}
