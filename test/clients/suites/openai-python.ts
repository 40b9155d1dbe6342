import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { installRequirements } from '../../../infra/python.ts';
import { type Check, readCheck } from '../drivers.ts';
import type { SuiteTarget } from './generated.ts';

const FOLDER = join(import.meta.dirname, 'python');

/** The tests of the resources that the service has, by their path in openai-python. */
const TESTS = [
  ...['chat', 'responses', 'conversations', 'test_responses.py', 'test_conversations.py', 'test_models.py'],
  'test_embeddings.py',
].map((name) => `tests/api_resources/${name}`);

/**
 * Runs openai-python's own tests against the service. Tests of routes that it doesn't have are left out.
 * @throws Error if Python or its packages can't be installed, or pytest ends without having run the tests
 */
export async function runOpenAIPython({ url, key, routes }: SuiteTarget): Promise<Check[]> {
  const python = await installRequirements(FOLDER);
  const source = await unpackSource(python);
  const { code, stdout, stderr } = await run(
    python,
    ['-m', 'pytest', '-o', 'addopts=', '-p', 'lambent_suite', '-p', 'no:cacheprovider', '--tb=short', ...TESTS],
    source,
    {
      PATH: process.env['PATH'] ?? '',
      PYTHONPATH: [FOLDER, source].join(delimiter),
      PYTHONDONTWRITEBYTECODE: '1',
      TEST_API_BASE_URL: url,
      LAMBENT_KEY: key,
      LAMBENT_ROUTES: JSON.stringify(routes.map(({ method, path }) => `${method} ${path}`)),
    },
  );
  const checks = stdout.split('\n').flatMap(readCheck);
  // pytest ends with 1 if tests have failed.
  if (checks.length === 0 || (code !== 0 && code !== 1))
    throw new Error(`pytest ended with ${code}: ${stderr}${stdout}`);
  return checks;
}

/** Downloads the source distribution and returns its folder. */
async function unpackSource(python: string): Promise<string> {
  const requirements = join(FOLDER, 'sdist-requirements.txt');
  const digest = createHash('sha256')
    .update(await readFile(requirements))
    .digest('hex')
    .slice(0, 12);
  const build = join(FOLDER, '.build');
  const unpacked = join(build, `sdist-${digest}`);
  if (existsSync(unpacked)) return unpacked;
  await mkdir(build, { recursive: true });
  const staging = await mkdtemp(join(build, 'sdist-'));
  try {
    const pip = ['-m', 'pip', '--disable-pip-version-check', 'download', '--quiet', '--no-deps', '--dest', staging];
    const options = ['--no-binary', ':all:', '--no-build-isolation', '--require-hashes', '--requirement', requirements];
    await mustRun(python, [...pip, ...options]);
    const [archive] = await readdir(staging);
    if (archive === undefined) throw new Error('pip has downloaded nothing');
    await mustRun(python, ['-m', 'tarfile', '--filter', 'data', '--extract', join(staging, archive), staging]);
    await rename(join(staging, archive.replace('.tar.gz', '')), unpacked);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return unpacked;
}

async function mustRun(command: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await run(command, args, FOLDER, process.env);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${stderr}`);
}

async function run(command: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv) {
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      output[name] += chunk;
    });
  }
  const code = await new Promise((resolve) => child.on('error', resolve).on('close', resolve));
  return { code, ...output };
}
