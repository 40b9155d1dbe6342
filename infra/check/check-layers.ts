import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { installDependencies } from '../install.ts';

const CHECK = import.meta.dirname;
const CRUISER = join(CHECK, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs');

/** The folders whose imports are checked. */
const PARTS = ['functions', 'shared', 'infra', 'local', 'test', 'bench'];

/** The result of the check. */
export interface LayerReport {
  readonly isClean: boolean;
  /** Each violation with its rule and the files; the number of modules if there is none. */
  readonly text: string;
}

/**
 * Checks the imports of a source tree against the rules of `layers.js`.
 * @param root absolute path of the tree
 * @param parts folders in the tree. Default: the repository's
 * @throws Error if the checker can't run
 */
export async function checkLayers(root: string, parts: readonly string[] = PARTS): Promise<LayerReport> {
  await installDependencies(CHECK);
  const args = [CRUISER, '--config', join(CHECK, 'layers.js'), '--output-type', 'err', ...parts];
  const { status, stdout, stderr, error } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  if (error !== undefined) throw error;
  // The exit status is the number of violations. If the checker itself fails, it writes no report.
  if (status === null || (status !== 0 && stdout.trim() === ''))
    throw new Error(`dependency-cruiser failed: ${stderr}`);
  return { isClean: status === 0, text: stdout.trim() };
}

if (import.meta.main) {
  const { isClean, text } = await checkLayers(join(CHECK, '../..'));
  console.log(text);
  if (!isClean) process.exitCode = 1;
}
