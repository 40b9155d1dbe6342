import { hash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import * as v from 'valibot';

const ROOT = resolve(import.meta.dirname, '../..');

/** A file's change time may be behind the clock: by the kernel's tick (at most 10 ms), on a file server by more. */
const CHANGE_TIME_TOLERANCE_MS = 100;

/** The inputs and outputs of a build. The build is not repeated while none of them changes. */
const recordSchema = v.object({
  /** Files that esbuild read, relative to the repository. */
  inputs: v.array(v.string()),
  /** `InputDigests.fingerprint(inputs)` at the time of the build. */
  fingerprint: v.string(),
  /** Digests of the files that the build wrote, by their paths relative to the output folder. */
  outputs: v.record(v.string(), v.string()),
  /** True if the function reads the model registry, which is then stored beside its code. */
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
 * Computes digests of everything on which esbuild's output depends. An instance reads each file and folder only once,
 * although functions share sources. Use an instance for one run only.
 */
export class InputDigests {
  readonly #files = new Map<string, string>();
  readonly #folders = new Map<string, readonly string[]>();
  readonly #listed = new Set<string>();
  readonly #tools: string;

  /** Digests the tools: Node (which modules are builtins), esbuild, and the code in this folder. */
  constructor() {
    this.#tools = [process.version, process.env['NODE_PATH'] ?? '', ...listToolFiles().map(digestFile)].join('\n');
  }

  /**
   * Returns the fingerprint of a build: a digest of its tools, of the contents of its inputs, and of everything on
   * which esbuild's module resolution depends. These are the names beside each input, the `node_modules` folders above
   * it (a new file or folder could take an input's place), and each `package.json` and `tsconfig.json` above it.
   * @param inputs paths relative to the repository
   */
  fingerprint(inputs: readonly string[]): string {
    const parts = [this.#tools];
    const files = inputs.map((input) => resolve(ROOT, input)).sort();
    for (const file of files) parts.push(file, this.digest(file));
    const inputFolders = new Set(files.map((file) => dirname(file)));
    for (const folder of inputFolders) this.#listed.add(folder);
    for (const folder of [...new Set([...inputFolders].flatMap(listAncestors))].sort()) {
      const names = this.#listNames(folder);
      const relevant = inputFolders.has(folder) ? names : names.filter((name) => name === 'node_modules');
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
   * Returns true if no input has changed since a build began, and no tool since this process loaded it. The fingerprint
   * is then the build's. The check uses change times, because programs can set modification times.
   * @param buildStartedAt epoch ms
   */
  isUnchangedSince(buildStartedAt: number): boolean {
    const isOlder = (time: number) => (file: string) => {
      const stats = statSync(file, { throwIfNoEntry: false });
      return stats === undefined || stats.ctimeMs < time - CHANGE_TIME_TOLERANCE_MS;
    };
    return (
      [...this.#files.keys(), ...this.#listed].every(isOlder(buildStartedAt)) &&
      listToolFiles().every(isOlder(performance.timeOrigin))
    );
  }

  #listNames(folder: string): readonly string[] {
    const known = this.#folders.get(folder);
    if (known !== undefined) return known;
    const names = listNames(folder);
    this.#folders.set(folder, names);
    return names;
  }
}

/** Files whose settings esbuild applies to the modules in and below their folder. */
const SETTINGS = ['package.json', 'tsconfig.json'];

function listToolFiles(): string[] {
  const own = listNames(import.meta.dirname).filter((name) => name.endsWith('.ts'));
  return [join(ROOT, 'node_modules/esbuild/package.json'), ...own.map((name) => join(import.meta.dirname, name))];
}

/** Returns the names in a folder, except those of editors' temporary files, which no import has. */
function listNames(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => !name.startsWith('.') && !name.endsWith('~'))
      .sort();
  } catch {
    return [];
  }
}

/** Returns a folder and each folder above it. */
function listAncestors(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...listAncestors(parent)];
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
