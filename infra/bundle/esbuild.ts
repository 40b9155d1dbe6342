import { join, relative, resolve } from 'node:path';
import { type BuildFailure, build, formatMessages, type Metafile, type OutputFile } from 'esbuild';
import { joinStart, nodeBuiltins, sdkStubs } from './plugins.ts';

const ROOT = resolve(import.meta.dirname, '../..');

export interface EsbuildResult {
  readonly outputFiles: readonly OutputFile[];
  readonly metafile: Metafile;
}

/**
 * Runs esbuild on a function's source. Writes nothing to disk.
 * @param name the function's name, part of the paths in its source maps
 * @throws Error with file, line and cause if the source can't be bundled, or if the bundle imports a package at run
 *   time
 */
export async function runEsbuild(source: string, name: string): Promise<EsbuildResult> {
  try {
    const result = await build({
      entryPoints: [{ in: source, out: 'index' }],
      // The same for every output folder, because paths in the source maps depend on it, and chunk names on the maps.
      outdir: join(ROOT, '.build', name),
      absWorkingDir: ROOT,
      bundle: true,
      write: false,
      metafile: true,
      platform: 'node',
      target: 'node24',
      // V8 would scan all of a CommonJS file at every start, lazily loaded parts included. Split ES modules avoid that.
      format: 'esm',
      splitting: true,
      outExtension: { '.js': '.mjs' },
      chunkNames: '[name]-[hash]',
      // The SDK's ES modules can be tree-shaken, unlike its CommonJS builds.
      mainFields: ['module', 'main'],
      plugins: [joinStart(source), sdkStubs, nodeBuiltins],
      minify: true,
      sourcemap: 'external',
      sourcesContent: false,
      legalComments: 'none',
      logLevel: 'silent',
    });
    refuseExternalImports(name, result.metafile);
    return result;
  } catch (failure) {
    const { errors } = failure as BuildFailure;
    if (!Array.isArray(errors)) throw failure;
    // esbuild's notes advise marking the import as external, which a bundle doesn't allow.
    const causes = errors.map((error) => ({ ...error, notes: [] }));
    const messages = await formatMessages(causes, { kind: 'error', color: false });
    throw new Error(`${relative(ROOT, source)} can't be bundled:\n${messages.join('')}`, { cause: failure });
  }
}

/**
 * Throws if a bundle has external imports. They would fail in the first cold start, because no `node_modules` exists.
 */
function refuseExternalImports(name: string, { outputs }: Metafile): void {
  const imports = Object.values(outputs).flatMap((output) => output.imports.filter(({ external }) => external));
  if (imports.length === 0) return;
  const paths = [...new Set(imports.map(({ path }) => path))].join(', ');
  throw new Error(`${name} imports modules that are neither bundled nor builtins of Node: ${paths}`);
}
