import { LambentError } from '../shared/core/errors.ts';
import { readSetting, type Variables } from './settings.ts';

/**
 * Returns `JOB_SHARDS_READ`: how many shards of the jobs' index the sweep and fleet read.
 * @throws LambentError `configuration` if more shards are written than read, because jobs in the others would be forgotten
 */
export async function readJobShardsRead(variables: Variables): Promise<number> {
  const written = await readSetting(variables, 'jobShards');
  const read = await readSetting(variables, 'jobShardsRead');
  if (read >= written) return read;
  throw new LambentError('configuration', `The setting jobShardsRead (${read}) is below jobShards (${written})`);
}
