/**
 * Makes `.serverless`, ready to deploy: bundles the functions, then packages them with the template. Needs neither
 * credentials nor network. Arguments are osls's own: `npm run package -- --stage prod --param 'chatProvisioned=2'`.
 */
import { readdir, stat } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { readModelRegistry } from '../shared/inference/read-registry.ts';
import type { ModelRegistry } from '../shared/inference/registry.ts';
import { bundleFunctions } from './bundle/build.ts';
import { printSizes } from './bundle/sizes.ts';
import { unreachableByEndpoints } from './gpu-reach.ts';
import { referencesIn } from './models-policy.ts';
import { oslsPackage, readTemplate } from './osls-package.ts';

const OUT_DIR = resolve(import.meta.dirname, '../.serverless');

try {
  await printSizes(await bundleFunctions());
  console.log((await oslsPackage({ outDir: OUT_DIR, args: process.argv.slice(2) })).trim());
  for (const artefact of await artefacts()) console.log(artefact);
  const registry = await packagedRegistry();
  warnOfEnvironmentReferences(registry);
  await warnOfUnreachableModels(registry);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function artefacts(): Promise<string[]> {
  const files = (await readdir(OUT_DIR)).filter((file) => file.endsWith('.zip') || file.endsWith('update-stack.json'));
  return Promise.all(
    files.sort().map(async (file) => {
      const { size } = await stat(join(OUT_DIR, file));
      return `  ${relative(process.cwd(), join(OUT_DIR, file))}  ${(size / 1000).toFixed(1)} KB`;
    }),
  );
}

async function packagedRegistry(): Promise<ModelRegistry> {
  return readModelRegistry(join(OUT_DIR, '../.build/chat/models.json'));
}

/** A key in a function's environment could be read by everybody who may look at the function, so none is put there. */
function warnOfEnvironmentReferences(registry: ModelRegistry): void {
  for (const reference of new Set(referencesIn(registry).filter((text) => text.startsWith('env:')))) {
    console.warn(
      `Warning: models.json refers to ${reference}, which no deployed function has. Use ssm: or secret: there.`,
    );
  }
}

/** A call that leads nowhere fails only after its time is over. */
async function warnOfUnreachableModels(registry: ModelRegistry): Promise<void> {
  const { Resources } = await readTemplate(OUT_DIR);
  if (!('GpuEndpointsSecurityGroup' in Resources)) return;
  for (const target of unreachableByEndpoints(registry))
    console.warn(`Warning: with gpuEgress=endpoints chat can't reach ${target}. Use gpuEgress=nat, or take it out.`);
}
