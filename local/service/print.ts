import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { glob, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LambentError } from '../../shared/core/errors.ts';

export interface PrintOptions {
  /** Folder that holds `serverless.yml`. */
  readonly root: string;
  readonly stage: string;
}

/** What `serverless.yml` can be made of. */
const SOURCES = ['serverless.yml', 'models.json', 'package.json', 'infra/**/*.*', 'shared/**/*.ts'];

/** Where osls is, seen from here. */
const OSLS = join(import.meta.dirname, '..', '..', 'node_modules', 'osls', 'bin', 'serverless.js');

/**
 * The whole of `serverless.yml` as osls resolves it, variables and included files and all: what runs here is what would
 * be deployed. It takes osls about a second, so the answer is kept under `.build/` until a source changes.
 * @throws LambentError `configuration` with what osls says of a definition that it can't resolve
 */
export async function printService({ root, stage }: PrintOptions): Promise<unknown> {
  const kept = join(root, '.build', 'local', `service.${await fingerprint(root, stage)}.json`);
  const known = await readFile(kept, 'utf8').catch(() => undefined);
  if (known !== undefined) return JSON.parse(known) as unknown;
  const json = await runOsls(root, stage);
  const service: unknown = JSON.parse(json);
  await mkdir(join(root, '.build', 'local'), { recursive: true });
  await writeFile(`${kept}.${process.pid}`, json);
  await rename(`${kept}.${process.pid}`, kept);
  return service;
}

async function runOsls(root: string, stage: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [OSLS, 'print', '--format', 'json', '--stage', stage],
      {
        cwd: root,
        env: { ...process.env, SLS_NOTIFICATIONS_MODE: 'off', SLS_TELEMETRY_DISABLED: '1', NO_COLOR: '1' },
        maxBuffer: 64 * 1024 * 1024,
      },
    );
    return stdout;
  } catch (cause) {
    // osls writes its errors to either.
    const { stdout = '', stderr = String(cause) } = Object(cause) as { stdout?: string; stderr?: string };
    throw new LambentError('configuration', `serverless.yml can't be resolved:\n${`${stdout}${stderr}`.trim()}`, {
      cause,
    });
  }
}

/** Changes when a source does, or an environment variable that one of them reads. */
async function fingerprint(root: string, stage: string): Promise<string> {
  const hash = createHash('sha256').update(`${stage}\n${process.version}\n`);
  const variables = new Set<string>();
  const files: string[] = [];
  for await (const file of glob(SOURCES, { cwd: root })) files.push(file);
  for (const file of files.sort()) {
    const { mtimeMs, size } = await stat(join(root, file));
    hash.update(`${file} ${mtimeMs} ${size}\n`);
    if (!file.endsWith('.yml')) continue;
    const yaml = await readFile(join(root, file), 'utf8');
    for (const [, name] of yaml.matchAll(/\$\{env:(\w+)/g)) if (name !== undefined) variables.add(name);
  }
  for (const name of variables) hash.update(`${name}=${process.env[name]}\n`);
  return hash.digest('hex').slice(0, 16);
}
