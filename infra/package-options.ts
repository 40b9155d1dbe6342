import { checkArgument, parseOptions, UsageError } from './operate/command-line.ts';
import { checkRegionOption, checkStageOption } from './operate/stage.ts';

export const PACKAGE_USAGE = `usage:
  npm run package [-- [--stage STAGE] [--region REGION] [--param name=value ...]]

Packages the stage dev by default. docs/settings.md describes the settings that --param sets.`;

/** The options of `npm run package`. The defaults are those of `serverless.yml`. */
export interface PackageOptions {
  readonly stage?: string | undefined;
  readonly region?: string | undefined;
  /** Settings, such as `chatProvisioned=2`. */
  readonly param: readonly string[];
}

/** Parses the arguments of `npm run package`. Throws UsageError. */
export function parsePackageOptions(args: readonly string[]): PackageOptions {
  const { positionals, values } = parseOptions(args, {
    stage: { type: 'string' },
    region: { type: 'string' },
    param: { type: 'string', multiple: true, default: [] },
  });
  if (positionals.length > 0) throw new UsageError(`package takes only options, not '${positionals[0]}'`);
  if (values.stage !== undefined) checkStageOption(values.stage);
  if (values.region !== undefined) checkRegionOption(values.region);
  checkSettings(values.param);
  return values;
}

/** Throws UsageError for a value of the option `--param` that isn't `name=value`. Packaging checks name and value. */
export function checkSettings(settings: readonly string[]): void {
  for (const each of settings) checkArgument('--param', each, /^\w+=/, 'name=value');
}

/** Returns the options as arguments of osls. */
export function toOslsArguments({ stage, region, param }: PackageOptions): string[] {
  return [
    ...(stage === undefined ? [] : ['--stage', stage]),
    ...(region === undefined ? [] : ['--region', region]),
    ...param.flatMap((setting) => ['--param', setting]),
  ];
}
