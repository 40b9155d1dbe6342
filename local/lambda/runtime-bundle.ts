import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { transform } from 'esbuild';

const SOURCE = join(import.meta.dirname, 'runtime-client.ts');
const OUTPUT_DIR = join(import.meta.dirname, '..', '..', '.build', 'local');

/**
 * Compiles the runtime client to CommonJS, once for each version of it: stripping its types in every process would
 * cost each cold start tens of milliseconds that no Lambda has.
 * @returns path of the file to run
 */
export async function compileRuntimeClient(): Promise<string> {
  const source = await readFile(SOURCE, 'utf8');
  const hash = createHash('sha256').update(source).digest('hex').slice(0, 16);
  const output = join(OUTPUT_DIR, `runtime-client.${hash}.cjs`);
  if (await exists(output)) return output;
  const { code } = await transform(source, { loader: 'ts', format: 'cjs', target: 'node24', sourcefile: SOURCE });
  await mkdir(OUTPUT_DIR, { recursive: true });
  // Renamed into place: another cloud may be reading it.
  const draft = `${output}.${process.pid}`;
  await writeFile(draft, code);
  await rename(draft, output);
  return output;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
