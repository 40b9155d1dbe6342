import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Metafile } from 'esbuild';
import type { Bundle } from './bundle.ts';
import { ENTRY_POINT } from './files.ts';
import { LAZY } from './plugins.ts';

export interface BundleSizes {
  /** Size of all code, lazily loaded parts included. */
  readonly sizeBytes: number;
  /** Size of all code, compressed file by file as in the zip that AWS stores. */
  readonly gzipBytes: number;
  /** The part of `sizeBytes` that a cold start reads before the first invocation. */
  readonly eagerBytes: number;
}

/** Measures a bundle's code. */
export async function measureBundle(bundle: Bundle): Promise<BundleSizes> {
  const folder = dirname(bundle.file);
  const names = (await readdir(folder)).filter((name) => name.endsWith('.mjs'));
  const code = await Promise.all(names.map((name) => readFile(join(folder, name))));
  const metafile = await readMetafile(bundle);
  return {
    sizeBytes: sum(code.map(({ byteLength }) => byteLength)),
    gzipBytes: sum(code.map((contents) => gzipSync(contents, { level: 9 }).byteLength)),
    eagerBytes: sum(listEagerOutputs(metafile).map((path) => metafile.outputs[path]?.bytes ?? 0)),
  };
}

/** Reads a bundle's metafile. */
export async function readMetafile({ metafile }: Bundle): Promise<Metafile> {
  return JSON.parse(await readFile(metafile, 'utf8')) as Metafile;
}

/**
 * Returns the outputs that importing the entry point loads: itself and its static imports, transitively.
 * @param source a source file that is imported dynamically, whose import counts instead of the entry point's
 */
export function listEagerOutputs({ outputs }: Metafile, source?: string): string[] {
  const isEntry = (path: string) =>
    source === undefined ? basename(path) === ENTRY_POINT : outputs[path]?.entryPoint === `${LAZY}:${source}`;
  const entry = Object.keys(outputs).find(isEntry);
  const eager = new Set(entry === undefined ? [] : [entry]);
  for (const path of eager) {
    for (const imported of outputs[path]?.imports ?? []) {
      if (imported.kind === 'import-statement') eager.add(imported.path);
    }
  }
  return [...eager];
}

/** Prints a table of the bundles' sizes in KB (1,000 bytes). */
export async function printSizes(bundles: readonly Bundle[]): Promise<void> {
  const rows = [['function', 'read at start', 'with lazy parts', 'gzipped']];
  for (const bundle of bundles) {
    const { eagerBytes, sizeBytes, gzipBytes } = await measureBundle(bundle);
    rows.push([bundle.name, formatKilobytes(eagerBytes), formatKilobytes(sizeBytes), formatKilobytes(gzipBytes)]);
  }
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const [name = '', ...sizes] of rows) {
    const cells = sizes.map((size, index) => size.padStart(widths[index + 1] ?? 0));
    console.log([name.padEnd(widths[0] ?? 0), ...cells].join('  '));
  }
}

const formatKilobytes = (bytes: number) => `${(bytes / 1000).toFixed(1)} KB`;

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
