/** Entry point of `npm start`. */
import { LambentError } from '../shared/core/errors.ts';
import { removeStandInVariables } from './credentials.ts';
import { startInAdvance } from './head-start.ts';
import { recordPhase } from './phases.ts';
import { readSettings } from './settings.ts';

async function main(): Promise<void> {
  recordPhase('load the first modules', 0);
  // All files of this process and of those that it starts are for their owner only.
  process.umask(0o077);
  removeStandInVariables(process.env);
  const [argument] = process.argv.slice(2);
  if (argument !== undefined) {
    const advice = 'Variables such as PORT change it: see README.md';
    throw new LambentError('configuration', `npm start takes no arguments, not '${argument}'. ${advice}`);
  }
  const settings = readSettings(process.env);
  const headStart = startInAdvance(settings);
  const loadingAt = performance.now();
  const { serve } = await import('./serve.ts');
  recordPhase('load the other modules', loadingAt);
  await serve(settings, headStart);
}

function describeError(error: unknown): string {
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
    return `Port ${process.env['PORT'] || 3000} is in use by another program. Set PORT to another port.`;
  }
  if (error instanceof LambentError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

main().catch((error: unknown) => {
  console.error(describeError(error));
  process.exit(1);
});
