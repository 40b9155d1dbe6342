import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageTemplate } from '../../infra/osls-package.ts';
import type { Template } from '../../infra/template.ts';

const templates = new Map<string, Promise<Template>>();

/** The template that the given osls arguments make; made once for each set of arguments. */
export function packaged(...args: string[]): Promise<Template> {
  return packagedOnce(args);
}

/** The template of a stack that runs a GPU fleet, with more settings: `gpuZones=3`. Made once for each set. */
export function packagedWithGpus(...settings: string[]): Promise<Template> {
  return packagedOf(GPU_MODELS, ...GPU_SETTINGS, ...settings);
}

/** The template that a models file of the caller's and settings make. Made once for each set. */
export function packagedOf(models: string, ...settings: string[]): Promise<Template> {
  return packagedOnce(
    settings.flatMap((setting) => ['--param', setting]),
    models,
  );
}

export const GPU_MODELS = join(import.meta.dirname, '../../infra/check/gpu-models.json');
export const GPU_SETTINGS = [
  'gpuFleet=qwen',
  'gpuImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.19.0',
  'gpuWeights=s3://models/qwen3-8b',
];
export const GPU_CANARY = 'gpuCanaryImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/vllm:v0.20.0';
/** What it takes to do without NAT gateways. */
export const GPU_ENDPOINTS = [
  'gpuEgress=endpoints',
  'gpuWeightsImage=123456789012.dkr.ecr.eu-west-1.amazonaws.com/aws-cli:2.32.9',
];

function packagedOnce(args: readonly string[], models?: string): Promise<Template> {
  const key = JSON.stringify([args, models]);
  const template = templates.get(key) ?? packageAnew(args, models);
  templates.set(key, template);
  return template;
}

async function packageAnew(args: readonly string[], models?: string): Promise<Template> {
  const folder = await mkdtemp(join(tmpdir(), 'lambent-infra-'));
  try {
    return await packageTemplate(folder, args, models);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Every setting that adds something to the template. */
export const EVERYTHING = [
  '--stage',
  'prod',
  ...['corsOrigin=https://app.example.com', 'alarmEmail=ops@example.com'].flatMap((setting) => ['--param', setting]),
];

export interface Found {
  readonly id: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

/** The resources of a type. */
export function ofType({ Resources }: Template, type: string): Found[] {
  return Object.entries(Resources)
    .filter(([, { Type }]) => Type === type)
    .map(([id, { Properties = {} }]) => ({ id, properties: Properties }));
}

/** Everything below `value` that is an object, itself included. */
export function* objectsIn(value: unknown): Generator<Readonly<Record<string, unknown>>> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield value as Readonly<Record<string, unknown>>;
  for (const item of Object.values(value)) yield* objectsIn(item);
}

/** The functions, by the short names that they have in `serverless.yml`. */
export function functionsOf(template: Template): (Found & { readonly name: string })[] {
  return ofType(template, 'AWS::Lambda::Function').map(({ id, properties }) => ({
    id,
    name: String(properties['FunctionName']).replace(/^.*-/, ''),
    properties,
  }));
}

export interface PolicyStatement {
  /** The resource's logical id and the statement's: `ChatRole/Log`. */
  readonly where: string;
  readonly statement: Readonly<Record<string, unknown>>;
}

/** Every statement of every policy. */
export function statementsIn({ Resources }: Template): PolicyStatement[] {
  return Object.entries(Resources).flatMap(([id, resource]) =>
    [...objectsIn(resource.Properties)]
      .filter((thing) => 'Effect' in thing)
      .map((statement) => ({ where: `${id}/${statement['Sid'] ?? ''}`, statement })),
  );
}
