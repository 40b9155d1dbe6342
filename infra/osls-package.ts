import { spawn } from 'node:child_process';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import type { Template } from './template.ts';

const ROOT = resolve(import.meta.dirname, '..');
const OSLS = createRequire(import.meta.url).resolve('osls/bin/serverless.js');

export interface PackageOptions {
  /** Folder for the template and the zips. */
  readonly outDir: string;
  /** Folder that holds `serverless.yml`. Default: the repository. */
  readonly serviceDir?: string;
  /** Arguments for osls, such as `--stage prod --param 'chatProvisioned=2'`. */
  readonly args?: readonly string[];
  /** The model registry. Default: `MODELS_FILE`, else the repository's. */
  readonly models?: string;
}

/**
 * Packages the service with osls. Needs neither credentials nor network.
 * @returns osls's output
 * @throws Error with osls's message if packaging fails
 */
export async function packageWithOsls({
  outDir,
  serviceDir = ROOT,
  args = [],
  models,
}: PackageOptions): Promise<string> {
  const osls = spawn(process.execPath, [OSLS, 'package', '--package', resolve(outDir), ...args], {
    cwd: serviceDir,
    env: { ...process.env, ...(models === undefined ? {} : { MODELS_FILE: models }) },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const texts: string[] = [];
  for (const stream of [osls.stdout, osls.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => texts.push(text));
  }
  const code = await new Promise<number | null>((resolve, reject) => osls.on('error', reject).on('close', resolve));
  const text = shortenErrors(texts.join(''));
  if (code !== 0) throw new Error(`osls could not package the service.\n${text}`);
  return text;
}

/** Removes stack traces and repetitions: osls reports an error once for every value in which it occurs. */
function shortenErrors(text: string): string {
  const errors = [...text.matchAll(/LambentError: ([\s\S]*?)\n {4}at /g)].map(([, message]) => message);
  if (errors.length > 0) return [...new Set(errors)].join('\n');
  return text.replace(/^( {4}at .*)?\n/gm, '');
}

/** Returns the template that `packageWithOsls` wrote to `outDir`. */
export async function readTemplate(outDir: string): Promise<Template> {
  const file = join(outDir, 'cloudformation-template-update-stack.json');
  return JSON.parse(await readFile(file, 'utf8')) as Template;
}

/**
 * Packages the service into `folder` with empty functions: enough for the template, without bundling, and without
 * touching the repository's `.build`.
 * @param folder an empty folder
 * @param models the model registry. Default: `MODELS_FILE`, else the repository's
 * @returns the template
 */
export async function packageTemplate(
  folder: string,
  args: readonly string[] = [],
  models?: string,
): Promise<Template> {
  const definition = await linkService(folder);
  for (const [, name = ''] of definition.matchAll(/handler: \.build\/([\w-]+)\/index\.handler/g)) {
    await mkdir(join(folder, '.build', name), { recursive: true });
    await writeFile(join(folder, '.build', name, 'index.mjs'), 'export const handler = async () => {};\n');
  }
  const outDir = join(folder, '.serverless');
  await packageWithOsls({ outDir, serviceDir: folder, args, ...(models === undefined ? {} : { models }) });
  return readTemplate(outDir);
}

/**
 * Copies `serverless.yml` and links `infra/` to `folder`, so that osls can package it once it contains `.build`.
 * @returns the text of `serverless.yml`
 */
export async function linkService(folder: string): Promise<string> {
  const definition = await readFile(join(ROOT, 'serverless.yml'), 'utf8');
  await writeFile(join(folder, 'serverless.yml'), definition);
  await symlink(join(ROOT, 'infra'), join(folder, 'infra'));
  return definition;
}
