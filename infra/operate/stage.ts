import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { checkArgument, UsageError } from './command-line.ts';
import { readStages, STAGES_FILE } from './stages-file.ts';

/** Packaging checks the rest: with some settings, functions have longer names. */
const STAGE = /^(?!.*-vault$)[A-Za-z][A-Za-z0-9-]{0,44}$/;
const STAGE_RULE = 'a letter, then up to 44 letters, digits or hyphens, not ending in -vault';
const REGION = /^[a-z]{2}(-[a-z]+)+-\d$/;

/** A deployed stage. */
export interface Stage {
  readonly name: string;
  readonly region: string;
  /** The beginning of the names of its resources, and the name of its stack. */
  readonly prefix: string;
}

/** Returns the value of the option `--stage`. Throws UsageError if it is missing or not valid. */
export function checkStageOption(name: string | undefined): string {
  const stage = checkArgument('--stage', name, STAGE, STAGE_RULE);
  // Stages are properties of objects in `serverless.yml` and `stages.json`, and every object has these already.
  if (stage in Object.prototype) throw new UsageError(`--stage can't be ${stage}, which is a reserved name`);
  return stage;
}

/** Returns the value of the option `--region`. Throws UsageError if it is missing or not valid. */
export function checkRegionOption(region: string | undefined): string {
  return checkArgument('--region', region, REGION, 'an AWS region, such as eu-west-1');
}

/**
 * Returns a stage by its options. Its region is the option's, otherwise the one in which `stagesFile` records its
 * deployment, otherwise the one of `serverless.yml`: the shell's region may be another one.
 * @throws UsageError if the stage is missing, or one of both is not valid
 * @throws Error with the file's name if `stagesFile` is invalid
 */
export async function resolveStage(
  options: { readonly stage?: string | undefined; readonly region?: string | undefined },
  stagesFile: string = STAGES_FILE,
): Promise<Stage> {
  const name = checkStageOption(options.stage);
  const recorded = (await readStages(stagesFile))[name];
  const region = checkRegionOption(options.region ?? recorded?.region ?? (await readStageRegion(name)));
  return { name, region, prefix: `lambent-${name}` };
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
