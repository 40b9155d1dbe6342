import { execFile } from 'node:child_process';
import { createHash, hash } from 'node:crypto';
import { glob, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LambentError } from '../../shared/core/errors.ts';

export interface PrintOptions {
  /** Folder of `serverless.yml`. */
  readonly root: string;
  readonly stage: string;
}

/** Files that a resolved `serverless.yml` can depend on. */
const SOURCES = ['serverless.yml', 'models.json', 'package.json', 'infra/**/*.*', 'shared/**/*.ts'];

/** The stage whose settings apply on a laptop. */
export const LOCAL_STAGE = 'local';

const REPOSITORY = join(import.meta.dirname, '..', '..');
const OSLS = join(REPOSITORY, 'node_modules', 'osls');

/** System variables that Node needs. osls gets only these and the variables that `serverless.yml` names. */
const SYSTEM_VARIABLES = ['PATH', 'HOME', 'TMPDIR', 'USERPROFILE', 'APPDATA', 'SYSTEMROOT', 'TEMP', 'TMP'];

/**
 * Returns `serverless.yml` as osls resolves it, with variables and included files, so that the same definition runs
 * locally as would be deployed. osls takes more than a second, so its output is cached in `.build/` until a source or
 * a variable changes. The model registry is always the repository's, because the permissions that are derived from it
 * have no effect locally.
 * @throws LambentError `configuration`, with osls's message, if the definition can't be resolved
 */
export function printService(options: PrintOptions): Promise<unknown> {
  const key = JSON.stringify(options);
  const running = inProgress.get(key);
  if (running !== undefined) return running;
  const printing = readOrPrint(options).finally(() => inProgress.delete(key));
  inProgress.set(key, printing);
  return printing;
}

/**
 * Calls in progress. `npm start` calls `printService` twice: early, so that osls runs while modules are loaded, and
 * later for the result.
 */
const inProgress = new Map<string, Promise<unknown>>();

async function readOrPrint({ root, stage }: PrintOptions): Promise<unknown> {
  const variables = await readNamedVariables(root);
  const folder = join(root, '.build', 'local');
  const file = join(folder, `service.${await computeFingerprint(root, stage, variables)}.json`);
  const cached = await readFile(file, 'utf8').catch(() => undefined);
  if (cached !== undefined) return JSON.parse(cached) as unknown;
  const json = await runOsls(root, stage, variables);
  const service: unknown = JSON.parse(json);
  await mkdir(folder, { recursive: true });
  const draft = `${file}.${process.pid}`;
  await writeFile(draft, json);
  await rename(draft, file);
  return service;
}

type Variables = Readonly<Record<string, string>>;

async function runOsls(root: string, stage: string, variables: Variables): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [join(OSLS, 'bin', 'serverless.js'), 'print', '--format', 'json', '--stage', stage],
      {
        cwd: root,
        env: {
          ...selectVariables(SYSTEM_VARIABLES),
          ...variables,
          NODE_COMPILE_CACHE: join(REPOSITORY, '.build', 'local', 'compile-cache'),
          SLS_NOTIFICATIONS_MODE: 'off',
          SLS_TELEMETRY_DISABLED: '1',
          NO_COLOR: '1',
        },
        maxBuffer: 64 * 1024 * 1024,
      },
    );
    return stdout;
  } catch (cause) {
    // osls writes some errors to stdout and others to stderr.
    const { stdout = '', stderr = String(cause) } = Object(cause) as { stdout?: string; stderr?: string };
    throw new LambentError('configuration', `serverless.yml can't be resolved:\n${`${stdout}${stderr}`.trim()}`, {
      cause,
    });
  }
}

/** Reads the environment variables that YAML files name as `${env:NAME}`. */
async function readNamedVariables(root: string): Promise<Variables> {
  const names: string[] = [];
  for await (const file of glob(['serverless.yml', 'infra/**/*.yml'], { cwd: root })) {
    const yaml = await readFile(join(root, file), 'utf8');
    for (const [, name = ''] of yaml.matchAll(/\$\{env:(\w+)/g)) names.push(name);
  }
  return selectVariables(names);
}

function selectVariables(names: readonly string[]): Record<string, string> {
  const set = names.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(set);
}

/** Returns a hash of the stage, Node's version, the variables, the sources and osls's version. */
async function computeFingerprint(root: string, stage: string, variables: Variables): Promise<string> {
  const parts = createHash('sha256').update(JSON.stringify([stage, process.version, variables]));
  const files: string[] = [];
  for await (const file of glob(SOURCES, { cwd: root })) files.push(file);
  const sources = files.sort().map((file) => [file, join(root, file)] as const);
  for (const [name, path] of [...sources, ['osls', join(OSLS, 'package.json')] as const]) {
    parts.update(`${name} ${hash('sha256', await readFile(path))}\n`);
  }
  return parts.digest('hex').slice(0, 16);
}
