import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

export const ENTRY_POINT = 'index.mjs';

export interface BundleFile {
  readonly name: string;
  readonly contents: Uint8Array | string;
}

/**
 * Replaces the contents of a folder by `files`. Chunk names contain a hash of their contents, and the entry point is
 * written last. A process that starts meanwhile therefore finds a complete bundle, either the old or the new one.
 */
export async function replaceFolder(folder: string, files: readonly BundleFile[]): Promise<void> {
  const entryLast = files.toSorted((a, b) => Number(a.name === ENTRY_POINT) - Number(b.name === ENTRY_POINT));
  for (const { name, contents } of entryLast) await replaceFile(join(folder, name), contents);
  await mkdir(folder, { recursive: true });
  const names = new Set(files.map(({ name }) => name));
  for (const stale of (await readdir(folder)).filter((name) => !names.has(name))) {
    await rm(join(folder, stale), { recursive: true });
  }
}

/**
 * Replaces a file atomically: writes a draft and renames it into place, so that readers never see half a file. The
 * draft is beside the file's folder, so that `replaceFolder` never deletes it.
 */
export async function replaceFile(file: string, contents: Uint8Array | string): Promise<void> {
  const folder = dirname(file);
  await mkdir(folder, { recursive: true });
  const draft = `${folder}.${basename(file)}.${process.pid}`;
  await writeFile(draft, contents);
  await rename(draft, file);
}
