import { parseOptions, UsageError } from '../operate/command-line.ts';
import { checkRegionOption, checkStageOption } from '../operate/stage.ts';
import { checkSettings } from '../package-options.ts';
import type { StagePackage } from './stage-package.ts';

export const DEPLOY_USAGE = `usage:
  npm run deploy -- --stage STAGE [--region REGION] [--param name=value ...]
  npm run deploy -- --packaged                  deploys what npm run package left in .serverless/

  --diff            shows the changes, then asks; without a terminal, stops
  --adopt           keeps the data of a removed stage of this name
  --vault-key ID    with --adopt: the vault key, if it can't be found
  --check-models    calls each Bedrock model once for one token, which costs money, and may subscribe the account to it
  --force           deploys in spite of errors that the preflight finds
  --replace-data    allows changes that replace tables, the bucket or keys by empty ones
  --key KEY         an API key, with which the deployed service is called; default: LAMBENT_KEY`;

export interface DeployOptions {
  readonly stage: string | undefined;
  readonly region: string | undefined;
  readonly param: readonly string[];
  readonly packaged: boolean;
  readonly diff: boolean;
  readonly adopt: boolean;
  readonly vaultKey: string | undefined;
  readonly checkModels: boolean;
  readonly force: boolean;
  readonly replaceData: boolean;
  readonly key: string | undefined;
}

/** Parses the arguments of `npm run deploy`. Throws UsageError. */
export function parseDeployOptions(args: readonly string[]): DeployOptions {
  const { positionals, values } = parseOptions(args, {
    stage: { type: 'string' },
    region: { type: 'string' },
    param: { type: 'string', multiple: true, default: [] },
    packaged: { type: 'boolean', default: false },
    diff: { type: 'boolean', default: false },
    adopt: { type: 'boolean', default: false },
    'vault-key': { type: 'string' },
    'check-models': { type: 'boolean', default: false },
    force: { type: 'boolean', default: false },
    'replace-data': { type: 'boolean', default: false },
    key: { type: 'string' },
  });
  if (positionals.length > 0) throw new UsageError(`deploy takes only options, not '${positionals[0]}'`);
  const { stage, region, param, packaged } = values;
  if (packaged && param.length > 0)
    throw new UsageError('--packaged takes no --param: settings are part of the package');
  if (values['vault-key'] !== undefined && !values.adopt) throw new UsageError('--vault-key needs --adopt');
  if (!packaged || stage !== undefined) checkStageOption(stage);
  if (region !== undefined) checkRegionOption(region);
  checkSettings(param);
  return {
    ...{ stage, region, param, packaged, diff: values.diff, adopt: values.adopt, key: values.key },
    vaultKey: values['vault-key'],
    checkModels: values['check-models'],
    force: values.force,
    replaceData: values['replace-data'],
  };
}

/** Throws Error if the options name another stage or region than those that were packaged. */
export function checkPackage({ stage, region }: DeployOptions, packaged: StagePackage): void {
  const wrong = [
    ...(stage === undefined || stage === packaged.stage ? [] : [`stage ${packaged.stage}, not ${stage}`]),
    ...(region === undefined || region === packaged.region ? [] : [`region ${packaged.region}, not ${region}`]),
  ];
  if (wrong.length > 0) throw new Error(`The package is for ${wrong.join(' and for ')}. Package it again.`);
}
