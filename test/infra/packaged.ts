import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageTemplate } from '../../infra/osls-package.ts';
import type { Template } from '../../infra/template.ts';

/** The functions of every stage. */
export const FUNCTIONS = [
  'authorize',
  'chat',
  'embeddings',
  'sessions',
  'responses',
  'token',
  'admin',
  'intake',
  'generate',
  'dispatch',
  'sweep',
  'record',
  'warmup',
  'fleet',
];

const templates = new Map<string, Promise<Template>>();

/** Returns the template for osls arguments. */
export function packageStage(...args: string[]): Promise<Template> {
  return packageOnce(args);
}

/** Returns the template of a stage that runs a GPU fleet, with more settings such as `gpuZones=3`. */
export function packageWithGpus(...settings: string[]): Promise<Template> {
  return packageWithModels(GPU_MODELS, ...GPU_SETTINGS, ...settings);
}

/** Returns the template for a models file and settings. */
export function packageWithModels(models: string, ...settings: string[]): Promise<Template> {
  return packageOnce(
    settings.flatMap((setting) => ['--param', setting]),
    models,
  );
}

export const GPU_MODELS = join(import.meta.dirname, '../../infra/check/gpu-models.json');
export const GPU_SETTINGS = [
  'gpuFleet=qwen',
  'gpuImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.19.0',
  'gpuWeights=s3://models/qwen3-8b',
  'gpuWeightsImage=public.ecr.aws/aws-cli/aws-cli@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
];
export const GPU_CANARY = 'gpuCanaryImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.20.0';
/** Settings of a stage without NAT gateways. */
export const GPU_ENDPOINTS = [
  'gpuEgress=endpoints',
  'gpuWeightsImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/aws-cli:2.32.9',
];

/** Returns the template for osls arguments and a models file. Packages once per set of arguments. */
export function packageOnce(args: readonly string[], models?: string): Promise<Template> {
  const key = JSON.stringify([args, models]);
  const template = templates.get(key) ?? packageInTemporaryFolder(args, models);
  templates.set(key, template);
  return template;
}

async function packageInTemporaryFolder(args: readonly string[], models?: string): Promise<Template> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-infra-'));
  try {
    return await packageTemplate(folder, args, models);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Arguments that add every optional resource without a GPU fleet to the template. */
export const EVERYTHING = [
  '--stage',
  'prod',
  ...[
    'corsOrigin=https://app.example.com',
    'alarmEmail=ops@example.com',
    'senderSources=arn:aws:events:eu-west-1:123456789012:rule/orders',
    'senderPrincipals=222222222222',
    'externalKeys=arn:aws:kms:eu-west-1:333333333333:key/11111111-2222-3333-4444-555555555555',
  ].flatMap((setting) => ['--param', setting]),
];

export interface FoundResource {
  readonly id: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

/** Returns the resources of a type. */
export function findByType({ Resources }: Template, type: string): FoundResource[] {
  return Object.entries(Resources)
    .filter(([, { Type }]) => Type === type)
    .map(([id, { Properties = {} }]) => ({ id, properties: Properties }));
}

/** Yields every object in `value`, itself included. */
export function* walkObjects(value: unknown): Generator<Readonly<Record<string, unknown>>> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield value as Readonly<Record<string, unknown>>;
  for (const item of Object.values(value)) yield* walkObjects(item);
}

/** Returns the functions with their names in `serverless.yml`. */
export function listFunctions(template: Template): (FoundResource & { readonly name: string })[] {
  return findByType(template, 'AWS::Lambda::Function').map(({ id, properties }) => ({
    id,
    name: String(properties['FunctionName']).replace(/^.*-/, ''),
    properties,
  }));
}

export interface PolicyStatement {
  /** Logical id of the resource and id of the statement, such as `ChatRole/Log`. */
  readonly where: string;
  readonly statement: Readonly<Record<string, unknown>>;
}

/** Returns every statement of every policy. */
export function listStatements({ Resources }: Template): PolicyStatement[] {
  return Object.entries(Resources).flatMap(([id, resource]) =>
    [...walkObjects(resource.Properties)]
      .filter((thing) => 'Effect' in thing)
      .map((statement) => ({ where: `${id}/${statement['Sid'] ?? ''}`, statement })),
  );
}
