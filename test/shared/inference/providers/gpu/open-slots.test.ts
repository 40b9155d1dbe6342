import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { FLEET_TIMINGS } from '../../../../../shared/gpu/fleet-timings.ts';
import { FLEET, MODEL, startFleetTables } from '../../../gpu/fleets.ts';

const MODULE = resolve(import.meta.dirname, '../../../../../shared/inference/providers/gpu/open-slots.ts');

/** Requests a slot of a fleet without workers, in a process that does nothing else. */
const PROGRAM = `
  const { openSlots } = await import(${JSON.stringify(MODULE)});
  const limits = { ${FLEET}: { reserve: 0.25, waitMs: 700 } };
  const slots = openSlots(process.env.FLEET_TABLE, limits, ${JSON.stringify(FLEET_TIMINGS.slots)});
  const prompt = { bytes: 0, prefixes: [] };
  const names = { fleet: '${FLEET}', model: '${MODEL}', tier: 'interactive', tenant: 'acme' };
  const request = { ...names, prompt, expectedOutputTokens: 1 };
  await slots.acquire(request, new AbortController().signal).catch(({ code }) => console.log(code));
`;

it('waiting for a slot keeps the process running', async () => {
  await using tables = await startFleetTables();
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', PROGRAM], {
    env: {
      PATH: process.env['PATH'],
      FLEET_TABLE: await tables.newTable(),
      AWS_ENDPOINT_URL_DYNAMODB: tables.url,
      AWS_REGION: 'eu-west-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
    },
  });
  expect(stdout).toBe('overloaded\n');
});
