/**
 * `npm run package`: bundles the functions and packages them with the template into `.serverless`, ready to deploy.
 * Needs neither credentials nor network.
 */
import { readdir, stat } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import type { ModelRegistry } from '../shared/inference/registry.ts';
import { bundleFunctions } from './bundle/build.ts';
import { printSizes } from './bundle/sizes.ts';
import { listUnreachable } from './gpu-reach.ts';
import { listSecretReferences } from './models-policy.ts';
import { runCommandLine } from './operate/command-line.ts';
import { packageWithOsls, readTemplate } from './osls-package.ts';
import { PACKAGE_USAGE, type PackageOptions, parsePackageOptions, toOslsArguments } from './package-options.ts';

/** The folder of the zips and templates. */
export const OUT_DIR = resolve(import.meta.dirname, '../.serverless');

/**
 * Bundles the functions and packages a stage. Prints the artefacts, and warnings.
 * @throws Error if a function can't be bundled, or a setting is invalid
 */
export async function packageStage(options: PackageOptions): Promise<void> {
  await printSizes(await bundleFunctions());
  console.log((await packageWithOsls({ outDir: OUT_DIR, args: toOslsArguments(options) })).trim());
  for (const line of await describeArtefacts()) console.log(line);
  console.log(await describeQuota());
  const registry = await readPackagedRegistry();
  warnOfEnvironmentReferences(registry);
  await warnOfUnreachableModels(registry);
}

async function describeArtefacts(): Promise<string[]> {
  const files = (await readdir(OUT_DIR)).filter((file) => file.endsWith('.zip') || file.endsWith('update-stack.json'));
  return Promise.all(
    files.sort().map(async (file) => {
      const { size } = await stat(join(OUT_DIR, file));
      return `  ${relative(process.cwd(), join(OUT_DIR, file))}  ${(size / 1000).toFixed(1)} KB`;
    }),
  );
}

async function readPackagedRegistry(): Promise<ModelRegistry> {
  return readModelRegistry(join(OUT_DIR, '../.build/chat/models.json'));
}

async function describeQuota(): Promise<string> {
  const { Outputs = {} } = await readTemplate(OUT_DIR);
  return `The account needs a quota of ${Object(Outputs['ConcurrencyQuota']).Value} concurrent executions or more.`;
}

/**
 * Warns of `env:` references. A deployed function has no such variable, because its configuration would show the key.
 */
function warnOfEnvironmentReferences(registry: ModelRegistry): void {
  for (const reference of new Set(listSecretReferences(registry).filter((text) => text.startsWith('env:')))) {
    console.warn(
      `Warning: models.json refers to ${reference}, but deployed functions have no such variable. Use ssm: or secret:.`,
    );
  }
}

/** Warns of models that chat can't reach. Otherwise they would fail only at run time, after a timeout. */
async function warnOfUnreachableModels(registry: ModelRegistry): Promise<void> {
  const { Resources } = await readTemplate(OUT_DIR);
  if (!('GpuEndpointsSecurityGroup' in Resources)) return;
  for (const target of listUnreachable(registry))
    console.warn(
      `Warning: with gpuEgress=endpoints chat can't reach ${target}. Use gpuEgress=nat, or remove the target.`,
    );
}

if (import.meta.main) {
  await runCommandLine((args) => packageStage(parsePackageOptions(args)), PACKAGE_USAGE);
}
