import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { checkArgument, UsageError } from './command-line.ts';

const STAGE = /^[A-Za-z](?!.*-vault$)[A-Za-z0-9-]{0,45}$/;
const REGION = /^[a-z]{2}(-[a-z]+)+-\d$/;

/** A deployed stage. */
export interface Stage {
  readonly name: string;
  readonly region: string;
  /** The beginning of the names of its resources, and the name of its stack. */
  readonly prefix: string;
}

/** Returns the name of a stage. Throws UsageError if it is missing or not valid. */
export function checkStageName(name: string | undefined): string {
  const rule = 'a letter, then up to 45 letters, digits or hyphens; not ending in -vault';
  const stage = checkArgument('--stage', name, STAGE, rule);
  // Stages are properties of objects in `serverless.yml` and `stages.json`, and every object has these already.
  if (stage in Object.prototype) throw new UsageError(`--stage can't be ${stage}, which is a reserved name`);
  return stage;
}

/**
 * Returns a stage by its options. Its region is the option's, otherwise the one to which `serverless.yml` deploys it:
 * the shell's region may be another one.
 * @throws UsageError if the stage is missing, or one of both is not valid
 */
export async function resolveStage(options: {
  readonly stage?: string | undefined;
  readonly region?: string | undefined;
}): Promise<Stage> {
  const name = checkStageName(options.stage);
  const region = checkRegion(options.region ?? (await readStageRegion(name)));
  return { name, region, prefix: `lambent-${name}` };
}

/** Returns the name of a region. Throws UsageError if it is not valid. */
export function checkRegion(region: string): string {
  return checkArgument('--region', region, REGION, 'an AWS region, such as eu-west-1');
}

/** Returns the setting `region` of a stage. */
async function readStageRegion(stage: string): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../../serverless.yml'), 'utf8');
  // The rest of the file has tags of CloudFormation, which are warned of otherwise.
  const { params } = parse(text, { logLevel: 'error' }) as {
    readonly params: Readonly<Record<string, { readonly region?: string } | undefined>>;
  };
  const own = Object.hasOwn(params, stage) ? params[stage]?.region : undefined;
  return own ?? params['default']?.region ?? '';
}
