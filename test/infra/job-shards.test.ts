import { expect, it } from 'vitest';
import { readJobShardsRead } from '../../infra/job-shards.ts';
import type { Variables } from '../../infra/settings.ts';

function variables(settings: Readonly<Record<string, unknown>>): Variables {
  return { resolveVariable: async (address) => settings[address.replace('param:', '')] };
}

it('the shards that are read may outnumber those that are written', async () => {
  expect(await readJobShardsRead(variables({ jobShards: 4, jobShardsRead: '16' }))).toBe(16);
});

it('a stage that writes more shards than it reads is refused', async () => {
  const settings = variables({ jobShards: '8', jobShardsRead: 4 });
  await expect(readJobShardsRead(settings)).rejects.toThrow('The setting jobShardsRead (4) is below jobShards (8)');
});

it('a number of shards that is zero or more than 1000 is refused', async () => {
  const readWith = (jobShards: number) => readJobShardsRead(variables({ jobShards, jobShardsRead: 1_000 }));
  await expect(readWith(0)).rejects.toThrow('jobShards is not valid: must be 1 to 1000');
  await expect(readWith(1_001)).rejects.toThrow('jobShards is not valid: must be 1 to 1000');
});
