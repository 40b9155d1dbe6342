import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Plugin } from 'esbuild';

/** The intervals that recovery is made of, by the file that holds them. */
const INTERVALS: Readonly<Record<string, readonly string[]>> = {
  'shared/jobs/transitions.ts': ['LEASE_MS', 'PICKUP_MS', 'MAX_PICKUP_MS', 'FAN_IN_MS'],
  'shared/jobs/lease.ts': ['HEARTBEAT_MS'],
  'shared/jobs/verdict.ts': ['FIRST_PAUSE_MS', 'LONGEST_PAUSE_MS'],
  'shared/api/receive.ts': ['TROUBLE_DELAY_SECONDS'],
  'shared/lambda/queue-pipeline.ts': ['VISIBILITY_SECONDS'],
};

/**
 * Bundles the very same code with its recovery intervals shortened together, so that what takes minutes takes seconds:
 * leases, heartbeats, visibility and pauses keep their proportions.
 * @param factor how many times as short; 1 changes nothing
 */
export function hurry(factor: number): Plugin {
  return {
    name: 'hurry',
    setup({ onLoad }) {
      onLoad({ filter: /\/(shared\/(jobs|runtime|fleet)|functions)\/\w+\.ts$/ }, async ({ path }) => {
        const names = Object.entries(INTERVALS).find(([file]) => path.endsWith(`/${file}`))?.[1];
        if (names === undefined || factor === 1) return undefined;
        const source = await readFile(path, 'utf8');
        return { contents: names.reduce((text, name) => shortened(text, name, factor, path), source), loader: 'ts' };
      });
    },
  };
}

function shortened(source: string, name: string, factor: number, path: string): string {
  const declaration = new RegExp(
    `((?:^(?:export )?const ${name} =|^ *${name}:|[{,] ${name}:) )([\\d_]+)([;,]| })`,
    'm',
  );
  const found = declaration.exec(source);
  if (found === null) throw new Error(`${basename(path)} has no interval ${name} any more`);
  const value = Number(found[2]?.replaceAll('_', ''));
  return source.replace(declaration, `$1${Math.ceil(value / factor)}$3`);
}
