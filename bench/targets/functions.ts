import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bundleFunctions } from '../../infra/bundle/build.ts';
import type { Bundle } from '../../infra/bundle/bundle.ts';
import type { Credentials } from '../../local/credentials.ts';
import type { FunctionDefinition } from '../../local/lambda/function.ts';

export const REGION = 'eu-west-1';
export const ACCESS_TABLE = 'access';
export const KEYS_TABLE = 'keys';

/** Provides credentials for functions whose stand-ins accept any. */
export async function provideCredentials(): Promise<Credentials> {
  return { accessKeyId: 'bench', secretAccessKey: 'bench', expiresAt: Number.POSITIVE_INFINITY };
}

/** The only public model name of the benchmarks' registries. */
export const MODEL = 'bench';

/** Writes a registry whose only model is OpenAI-compatible, at `upstream`. Returns its path. */
export function writeHostedModels(folder: string, upstream: string): Promise<string> {
  const target = { provider: 'openai-compatible', model: 'bench', baseUrl: `${upstream}/v1` };
  return writeModels(join(folder, 'hosted.json'), target);
}

/** Writes a registry whose only model is on Bedrock. Returns its path. */
export function writeBedrockModels(folder: string): Promise<string> {
  return writeModels(join(folder, 'bedrock.json'), { provider: 'bedrock', model: 'bench.model' });
}

async function writeModels(file: string, target: object): Promise<string> {
  await writeFile(file, JSON.stringify({ models: { [MODEL]: { targets: [target] } } }));
  return file;
}

/** Bundles a function into `folder` as it is packaged for AWS. Returns its definition for the local runner. */
export async function bundleFunction(
  source: string,
  folder: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<FunctionDefinition> {
  const [bundle] = await bundleFunctions({ outDir: folder, functions: [source] });
  if (bundle === undefined) throw new Error(`${source} produced no bundle`);
  return defineFunction(bundle, environment);
}

/** Settings of the stores, which functions require. The benchmarks that use these values never call a store. */
const STORES = {
  KMS_KEY_ID: 'unused',
  KEYS_TABLE: 'unused',
  JOBS_TABLE: 'unused',
  SESSIONS_TABLE: 'unused',
  LIMITS_TABLE: 'unused',
  BUCKET: 'unused',
  JOBS_QUEUE_URL: 'unused',
  GPU_QUEUE_URL: 'unused',
  FLEET_TABLE: 'unused',
};

/** Returns a bundle's definition for the local runner. */
export function defineFunction(
  { name, file }: Bundle,
  environment: Readonly<Record<string, string>>,
): FunctionDefinition {
  return {
    name,
    functionName: name,
    taskRoot: dirname(file),
    handler: 'index.handler',
    timeoutMs: 60_000,
    memoryMb: 1_024,
    background: false,
    environment: { ...STORES, ...environment },
  };
}
