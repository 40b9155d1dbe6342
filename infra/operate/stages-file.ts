import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import * as v from 'valibot';

/** The repository's record. */
export const STAGES_FILE = resolve(import.meta.dirname, '../../stages.json');

/** Where a stage is deployed. */
export interface StageRecord {
  readonly account: string;
  readonly region: string;
}

const stagesSchema = v.record(
  v.string(),
  v.object({
    account: v.pipe(v.string(), v.regex(/^\d{12}$/, 'an account must have 12 digits')),
    region: v.string(),
  }),
);

/**
 * Returns where each stage is deployed. The record is a file that is committed, because only something outside the
 * account can show that the credentials belong to another one.
 * @returns an empty object if there is no file
 * @throws Error with the file's name if the file is invalid
 */
export async function readStages(file: string): Promise<Record<string, StageRecord>> {
  const text = await readFile(file, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return '{}';
    throw error;
  });
  try {
    return v.parse(stagesSchema, JSON.parse(text));
  } catch (thrown) {
    throw new Error(`${file} is not valid: ${thrown instanceof Error ? thrown.message : thrown}`);
  }
}

/**
 * Records where a stage is deployed, or removes its record.
 * @returns true if that changed the file
 */
export async function recordStage(file: string, stage: string, record: StageRecord | undefined): Promise<boolean> {
  const { [stage]: previous, ...others } = await readStages(file);
  if (JSON.stringify(previous) === JSON.stringify(record)) return false;
  const stages = Object.entries(record === undefined ? others : { ...others, [stage]: record });
  await writeFile(file, `${JSON.stringify(Object.fromEntries(stages.sort()), undefined, 2)}\n`);
  return true;
}
