import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Metafile } from 'esbuild';
import * as v from 'valibot';
import { MISSING_LICENSES } from './missing-licenses.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** An npm package, parts of which are in a bundle. */
export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  /** SPDX expression, such as `Apache-2.0`. */
  readonly license: string;
  /** The files with its licence and notices, in the order of their names. */
  readonly texts: readonly string[];
}

const manifestSchema = v.object({ name: v.string(), version: v.string(), license: v.string() });

/** Names of the files that licences require to be kept. */
const LEGAL_FILE = /^(licen[cs]e|notice|copying)/i;

/**
 * Returns the packages whose code is in a bundle's outputs, by name and version.
 * @throws Error if a package doesn't name its licence or has no file with its text
 */
export async function listBundledPackages({ outputs }: Metafile): Promise<BundledPackage[]> {
  const inputs = Object.values(outputs).flatMap(({ inputs: used }) =>
    Object.entries(used).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [path] : [])),
  );
  const folders = new Set(inputs.flatMap((path) => findPackageFolder(path) ?? []));
  const packages = await Promise.all([...folders].map((folder) => readPackage(join(ROOT, folder))));
  // A package may be installed in several folders.
  const unique = new Map(packages.map((each) => [`${each.name}@${each.version}`, each]));
  return [...unique.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each);
}

/** Returns the folder of the package that a module belongs to; undefined for our own modules. */
function findPackageFolder(path: string): string | undefined {
  return /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1];
}

async function readPackage(folder: string): Promise<BundledPackage> {
  const manifest = v.parse(
    v.pipe(v.string(), v.parseJson(), manifestSchema),
    await readFile(join(folder, 'package.json'), 'utf8'),
  );
  const files = (await readdir(folder)).filter((file) => LEGAL_FILE.test(file)).sort();
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
  const missing = MISSING_LICENSES[manifest.name];
  if (texts.length === 0 && missing === undefined) {
    throw new Error(`${folder} has no file with its licence: add its text to infra/bundle/missing-licenses.ts`);
  }
  return { ...manifest, texts: texts.length === 0 && missing !== undefined ? [missing] : texts };
}
