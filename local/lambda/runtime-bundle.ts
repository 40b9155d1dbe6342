import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';

const SOURCE_DIR = join(import.meta.dirname, 'runtime');
const OUTPUT_DIR = join(import.meta.dirname, '..', '..', '.build', 'local');

/**
 * Bundles the runtime client into one CommonJS file, once for each version of its sources. If every process stripped
 * types and resolved modules itself, each cold start would take tens of milliseconds longer than in Lambda.
 * @returns path of the file to run
 */
export async function bundleRuntime(): Promise<string> {
  const output = join(OUTPUT_DIR, `runtime.${await hashSources()}.cjs`);
  if (await exists(output)) return output;
  // Renamed into place, because another local cloud may be reading it, or several runners may start at once.
  const draft = `${output}.${randomUUID()}`;
  const options = { bundle: true, platform: 'node', format: 'cjs', target: 'node24', write: false } as const;
  const { outputFiles } = await build({ entryPoints: [join(SOURCE_DIR, 'main.ts')], ...options });
  await mkdir(OUTPUT_DIR, { recursive: true });
  await writeFile(draft, outputFiles[0]?.contents ?? '');
  await rename(draft, output);
  return output;
}

async function hashSources(): Promise<string> {
  const names = (await readdir(SOURCE_DIR)).sort();
  const sources = await Promise.all(names.map((name) => readFile(join(SOURCE_DIR, name), 'utf8')));
  const hash = createHash('sha256');
  for (const source of sources) hash.update(source);
  return hash.digest('hex').slice(0, 16);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
