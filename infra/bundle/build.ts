import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join, relative, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type BuildFailure, build, formatMessages, type Metafile, type OutputFile } from 'esbuild';
import { parseModelRegistry } from '../../shared/inference/registry.ts';
import { modelsFile } from '../models-file.ts';
import type { Bundle } from './bundle.ts';
import { sourceOfPlace } from './places.ts';
import { nodeBuiltins, sdkStubs } from './plugins.ts';
import { printSizes } from './sizes.ts';

const ROOT = resolve(import.meta.dirname, '../..');

export interface BundleOptions {
  /** Folder that gets a folder for each function. */
  readonly outDir?: string;
  /** Source files of the functions; every file of `functions/` when absent. */
  readonly functions?: readonly string[];
  /** The model registry put beside functions that read it; `MODELS_FILE`, else the repository's, when absent. */
  readonly models?: string;
}

/**
 * Bundles each function for a fast cold start, as `<outDir>/<function>/index.mjs`: tree-shaken ES modules in which
 * whatever is imported dynamically stays in a file of its own, unread until it is asked for. Functions that read the
 * model registry get it beside their code as `models.json`. Source maps and esbuild's metafiles go to `<outDir>/.maps`
 * and `<outDir>/.meta`, outside of what is shipped. The same sources give the same bytes.
 * @throws Error naming file, line and cause of what can't be bundled
 * @throws LambentError `configuration` when the model registry is not valid
 */
export async function bundleFunctions(options: BundleOptions = {}): Promise<Bundle[]> {
  const outDir = resolve(ROOT, options.outDir ?? '.build');
  const sources = options.functions ?? (await sourcesOfFunctions());
  const models = options.models === undefined ? modelsFile() : resolve(ROOT, options.models);
  return Promise.all(sources.map((source) => bundleFunction(resolve(ROOT, source), outDir, models)));
}

async function sourcesOfFunctions(): Promise<string[]> {
  const folder = join(ROOT, 'functions');
  const files = (await readdir(folder)).filter((file) => file.endsWith('.ts')).sort();
  if (files.length === 0) throw new Error(`${folder} holds no function`);
  return files.map((file) => join(folder, file));
}

async function bundleFunction(source: string, outDir: string, models: string): Promise<Bundle> {
  const name = basename(source, '.ts');
  const folder = join(outDir, name);
  const { outputFiles, metafile } = await runEsbuild(source, name);
  refuseUnbundledImports(name, metafile);

  const code = outputFiles.filter(({ path }) => path.endsWith('.mjs'));
  const maps = outputFiles.filter(({ path }) => path.endsWith('.map'));
  const registry = readsRegistry(metafile) ? [{ path: 'models.json', contents: await validatedRegistry(models) }] : [];
  await replaceFiles(folder, [...code, ...registry]);
  await replaceFiles(join(outDir, '.maps', name), maps);
  await mkdir(join(outDir, '.meta'), { recursive: true });
  await writeFile(join(outDir, '.meta', `${name}.json`), JSON.stringify(metafile));

  return {
    name,
    file: join(folder, 'index.mjs'),
    sizeBytes: sum(code.map(({ contents }) => contents.byteLength)),
    gzipBytes: sum(code.map(({ contents }) => gzipSync(contents, { level: 9 }).byteLength)),
    eagerBytes: sum(eagerOutputs(metafile).map((path) => metafile.outputs[path]?.bytes ?? 0)),
    metafile,
  };
}

async function runEsbuild(source: string, name: string) {
  try {
    return await build({
      entryPoints: [{ in: source, out: 'index' }],
      // Always the same: the source maps' relative paths depend on it, and the chunks' names on the source maps.
      outdir: join(ROOT, '.build', name),
      absWorkingDir: ROOT,
      bundle: true,
      write: false,
      metafile: true,
      platform: 'node',
      target: 'node24',
      // Split ES modules beat one CommonJS file, whose lazily loaded parts V8 has to scan at every start.
      format: 'esm',
      splitting: true,
      outExtension: { '.js': '.mjs' },
      chunkNames: '[name]-[hash]',
      // The SDK's CommonJS builds can't be tree-shaken; its ES modules can.
      mainFields: ['module', 'main'],
      plugins: [sdkStubs, nodeBuiltins],
      minify: true,
      sourcemap: 'external',
      sourcesContent: false,
      legalComments: 'none',
      logLevel: 'silent',
    });
  } catch (failure) {
    const { errors } = failure as BuildFailure;
    if (!Array.isArray(errors)) throw failure;
    // Without esbuild's notes: their advice, to leave the import in, is no way out for a bundle.
    const causes = errors.map((error) => ({ ...error, notes: [] }));
    const messages = await formatMessages(causes, { kind: 'error', color: false });
    throw new Error(`${relative(ROOT, source)} can't be bundled:\n${messages.join('')}`, { cause: failure });
  }
}

/** A bundle has no `node_modules` beside it: what esbuild left as an import would fail in the first cold start. */
function refuseUnbundledImports(name: string, { outputs }: Metafile): void {
  const left = Object.values(outputs).flatMap(({ imports }) => imports.filter(({ external }) => external));
  if (left.length === 0) return;
  const paths = [...new Set(left.map(({ path }) => path))].join(', ');
  throw new Error(`${name} imports what is neither bundled nor a builtin of Node: ${paths}`);
}

function readsRegistry({ inputs }: Metafile): boolean {
  return 'shared/inference/registry.ts' in inputs;
}

async function validatedRegistry(file: string): Promise<Buffer> {
  const contents = await readFile(file).catch((cause: unknown) => {
    throw new Error(`the model registry ${file} can't be read`, { cause });
  });
  parseModelRegistry(contents.toString('utf8'), file);
  return contents;
}

/** Paths of the outputs that importing the entry point loads at once: itself and its static imports, transitively. */
export function eagerOutputs({ outputs }: Metafile): string[] {
  const entry = Object.keys(outputs).find((path) => basename(path) === 'index.mjs');
  const eager = new Set(entry === undefined ? [] : [entry]);
  for (const path of eager) {
    for (const imported of outputs[path]?.imports ?? []) {
      if (imported.kind === 'import-statement') eager.add(imported.path);
    }
  }
  return [...eager];
}

/**
 * Makes `folder` hold exactly `files`, by their base names. Chunks have content-hashed names and the entry point is written last, so that a
 * process that starts meanwhile finds a whole bundle, the old or the new.
 */
async function replaceFiles(folder: string, files: readonly Pick<OutputFile, 'path' | 'contents'>[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  const entryLast = files.toSorted((a, b) => Number(isEntry(a.path)) - Number(isEntry(b.path)));
  for (const { path, contents } of entryLast) await replaceFile(folder, basename(path), contents);
  const wanted = new Set(files.map(({ path }) => basename(path)));
  for (const stale of (await readdir(folder)).filter((file) => !wanted.has(file))) {
    await rm(join(folder, stale), { recursive: true });
  }
}

/** Writes beside the folder and renames, so that nobody reads half a file, nor takes an unfinished one for a stale one. */
async function replaceFile(folder: string, name: string, contents: Uint8Array): Promise<void> {
  const unfinished = `${folder}.${name}.${process.pid}`;
  await writeFile(unfinished, contents);
  await rename(unfinished, join(folder, name));
}

const isEntry = (path: string) => basename(path) === 'index.mjs';

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

/** `build.ts` bundles all functions; `build.ts where <function> <place>` finds a place of a stack trace in the source. */
async function main([command, name, place]: readonly string[]): Promise<void> {
  if (command === undefined) return printSizes(await bundleFunctions());
  if (command !== 'where' || name === undefined || place === undefined) {
    throw new Error('usage: npm run build [-- where <function> <index.mjs:LINE:COLUMN>]');
  }
  console.log(await sourceOfPlace(join(ROOT, '.build'), name, place));
}

if (import.meta.main) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
