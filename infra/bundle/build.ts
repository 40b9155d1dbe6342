import { readdir, readFile } from 'node:fs/promises';
import { basename, join, relative, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Metafile } from 'esbuild';
import manifest from '../../package.json' with { type: 'json' };
import { LambentError } from '../../shared/core/errors.ts';
import { parseModelRegistry } from '../../shared/inference/registry.ts';
import { resolveModelsFile } from '../models-file.ts';
import { type BuildRecord, digestFile, InputDigests, readBuildRecord } from './build-record.ts';
import type { Bundle } from './bundle.ts';
import { type BundleFile, ENTRY_POINT, replaceFile, replaceFolder } from './files.ts';
import { findSource } from './find-source.ts';
import { createNotices } from './notices.ts';
import { listBundledPackages } from './packages.ts';
import { isFile } from './plugins.ts';
import { printSizes } from './sizes.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const MODELS = 'models.json';

export interface BundleOptions {
  /** Folder that gets a folder for each function. */
  readonly outDir?: string;
  /** Source files of the functions. Default: every file of `functions/`. */
  readonly functions?: readonly string[];
  /** The model registry for functions that read it. Default: `MODELS_FILE`, else the repository's. */
  readonly models?: string;
}

/**
 * Bundles each function for a fast cold start, as `<outDir>/<function>/index.mjs`: tree-shaken ES modules. Modules that
 * are imported dynamically stay in files of their own, which a process reads when it needs them. Functions that read
 * the model registry get it beside their code as `models.json`, and all get the licences and the list of the packages in
 * their code. Source maps and esbuild's metafiles go to
 * `<outDir>/.maps` and `<outDir>/.meta`, which are not deployed. The same sources give the same bytes. A function is
 * not built again if neither inputs nor outputs have changed since its last build.
 * @throws Error with file, line and cause if a function can't be bundled
 * @throws LambentError `configuration` if the model registry can't be read or is not valid
 */
export async function bundleFunctions(options: BundleOptions = {}): Promise<Bundle[]> {
  const outDir = resolve(ROOT, options.outDir ?? '.build');
  const sources = options.functions ?? (await listFunctions());
  const models = options.models === undefined ? resolveModelsFile() : resolve(ROOT, options.models);
  const digests = new InputDigests();
  return Promise.all(sources.map((source) => bundleFunction(resolve(ROOT, source), outDir, models, digests)));
}

/**
 * Returns the source files of the functions.
 * @throws Error if there are none
 */
export async function listFunctions(): Promise<string[]> {
  const folder = join(ROOT, 'functions');
  const files = (await readdir(folder)).filter((file) => file.endsWith('.ts')).sort();
  if (files.length === 0) throw new Error(`${folder} has no functions`);
  return files.map((file) => join(folder, file));
}

/** The paths of a function's bundle. */
interface BundlePaths {
  readonly outDir: string;
  readonly code: string;
  readonly maps: string;
  readonly metafile: string;
  readonly record: string;
}

async function bundleFunction(source: string, outDir: string, models: string, digests: InputDigests): Promise<Bundle> {
  const name = basename(source, '.ts');
  const paths: BundlePaths = {
    outDir,
    code: join(outDir, name),
    maps: join(outDir, '.maps', name),
    metafile: join(outDir, '.meta', `${name}.json`),
    record: join(outDir, '.meta', `${name}.record.json`),
  };
  const record = readBuildRecord(paths.record);
  if (record !== undefined && (await isUpToDate(record, paths, digests))) {
    if (record.readsRegistry) await updateRegistry(join(paths.code, MODELS), await readValidRegistry(models));
  } else {
    await buildFunction(source, name, models, paths);
  }
  return { name, file: join(paths.code, ENTRY_POINT), metafile: paths.metafile };
}

async function isUpToDate(record: BuildRecord, paths: BundlePaths, digests: InputDigests): Promise<boolean> {
  if (record.fingerprint !== digests.fingerprint(record.inputs)) return false;
  return isDeepStrictEqual(await digestOutputs(paths, record.readsRegistry), record.outputs);
}

async function buildFunction(source: string, name: string, models: string, paths: BundlePaths): Promise<void> {
  const startedAt = Date.now();
  // Loaded only here, because most starts build nothing.
  const { runEsbuild } = await import('./esbuild.ts');
  const { outputFiles, metafile } = await runEsbuild(source, name);
  const readsRegistry = 'shared/inference/registry.ts' in metafile.inputs;
  const registry: BundleFile[] = readsRegistry ? [{ name: MODELS, contents: await readValidRegistry(models) }] : [];
  const selectOutputs = (extension: string): BundleFile[] =>
    outputFiles
      .filter(({ path }) => path.endsWith(extension))
      .map(({ path, contents }) => ({ name: basename(path), contents }));
  const notices = createNotices(name, manifest.version, await listBundledPackages(metafile));
  await replaceFolder(paths.code, [...registry, ...notices, ...selectOutputs('.mjs')]);
  await replaceFolder(paths.maps, selectOutputs('.map'));
  await replaceFile(paths.metafile, JSON.stringify(metafile));
  await recordBuild(metafile, readsRegistry, paths, startedAt);
}

/** Records a build, unless an input changed while esbuild ran: esbuild may have read the earlier contents. */
async function recordBuild(
  metafile: Metafile,
  readsRegistry: boolean,
  paths: BundlePaths,
  startedAt: number,
): Promise<void> {
  const digests = new InputDigests();
  const inputs = Object.keys(metafile.inputs).filter(isFile);
  const fingerprint = digests.fingerprint(inputs);
  if (!digests.isUnchangedSince(startedAt)) return;
  const outputs = await digestOutputs(paths, readsRegistry);
  const record: BuildRecord = { inputs, fingerprint, outputs, readsRegistry };
  await replaceFile(paths.record, JSON.stringify(record));
}

/** Returns digests of a bundle's files, except the model registry's, which is not an output of esbuild. */
async function digestOutputs({ outDir, code, maps, metafile }: BundlePaths, readsRegistry: boolean) {
  const listFiles = async (folder: string): Promise<string[]> =>
    (await readdir(folder).catch((): string[] => [])).map((name) => join(folder, name));
  const files = [...(await listFiles(code)), ...(await listFiles(maps)), metafile];
  const outputs = files.filter((file) => !(readsRegistry && file === join(code, MODELS)));
  return Object.fromEntries(outputs.map((file) => [relative(outDir, file), digestFile(file)]));
}

async function updateRegistry(file: string, contents: Buffer): Promise<void> {
  const present = await readFile(file).catch(() => undefined);
  if (present === undefined || !present.equals(contents)) await replaceFile(file, contents);
}

async function readValidRegistry(file: string): Promise<Buffer> {
  const contents = await readFile(file).catch((cause: unknown) => {
    throw new LambentError('configuration', `The model registry ${file} can't be read`, { cause });
  });
  parseModelRegistry(contents.toString('utf8'), file);
  return contents;
}

/** Bundles all functions, or, with `where <function> <position>`, prints the source of a position in a stack trace. */
async function main([command, name, position]: readonly string[]): Promise<void> {
  if (command === undefined) return printSizes(await bundleFunctions());
  if (command !== 'where' || name === undefined || position === undefined) {
    throw new Error('usage: npm run build [-- where <function> <index.mjs:LINE:COLUMN>]');
  }
  console.log(await findSource(join(ROOT, '.build'), name, position));
}

if (import.meta.main) {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
