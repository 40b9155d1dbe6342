import { LambentError } from '../shared/core/errors.ts';
import type { Fleet } from '../shared/inference/registry.ts';

/** The ECS service of a fleet, by the names that `models.json` gives it. */
export interface GpuService {
  readonly cluster: string;
  readonly service: string;
  /** Of the canary's fleet; empty without one. */
  readonly canaryService: string;
  readonly port: number;
}

/** What the engines of a fleet load. */
export interface EngineModel {
  readonly model: string;
  /** How many LoRA adapters the fleet has. */
  readonly adapters: number;
  readonly contextTokens: number;
}

export interface EngineSettings extends EngineModel {
  readonly port: number;
  readonly slots: number;
  readonly gpus: number;
  readonly stepTokens: number;
  readonly shutdownSeconds: number;
  /** Flags of the setting `gpuEngineFlags`. */
  readonly more: readonly string[];
}

/** Where the disk with the weights is in an engine's container. */
const WEIGHTS = '/weights';

/** Sequences that an engine runs at once, as in the simulations: more than its slots, so that none waits inside. */
const LEAST_SEQUENCES = 256;

/** What Lambent counts on, and flags that would put a key or content where it doesn't belong. */
const RESERVED = /^--(?:(?:no-)?enable-log-requests|api-key|host|port|ssl-.*|uds|root-path)(?:=|$)/;

/**
 * The command line of vLLM. docs/gpu-aws.md says what each flag is for.
 * @throws LambentError `configuration` for a flag of `more` that Lambent sets or counts on itself
 */
export function engineCommand(settings: EngineSettings): string[] {
  const { model, adapters, contextTokens, port, slots, gpus, stepTokens, shutdownSeconds, more } = settings;
  const own = {
    '--served-model-name': model,
    '--host': '0.0.0.0',
    '--port': port,
    '--max-model-len': contextTokens,
    '--max-num-seqs': Math.max(LEAST_SEQUENCES, slots),
    '--max-num-batched-tokens': stepTokens,
    '--tensor-parallel-size': gpus,
    '--scheduling-policy': 'priority',
    '--shutdown-timeout': shutdownSeconds,
    ...(adapters > 0 ? { '--max-loras': adapters } : {}),
  };
  const switches = [
    '--enable-prefix-caching',
    '--enable-prompt-tokens-details',
    // Requests in a log would be prompts in a log.
    '--no-enable-log-requests',
    '--disable-uvicorn-access-log',
    ...(adapters > 0 ? ['--enable-lora'] : []),
  ];
  const taken = [...Object.keys(own), ...switches];
  const unwanted = more.find((flag) => RESERVED.test(flag) || taken.includes(flag.replace(/=.*/, '')));
  if (unwanted !== undefined)
    throw new LambentError('configuration', `The setting gpuEngineFlags may not have ${unwanted}: it is set already`);
  return [WEIGHTS, ...Object.entries(own).flatMap(([flag, value]) => [flag, String(value)]), ...switches, ...more];
}

/**
 * The service of a fleet and of its canary, in one cluster.
 * @throws LambentError `configuration` when they have none, or names that stand for more than names
 */
export function serviceOf(name: string, { ecs, engine }: Fleet, canary: Fleet | undefined): GpuService {
  if (ecs === undefined || engine !== 'vllm')
    throw new LambentError('configuration', `gpuFleet names ${name}, which has to be a vllm fleet with ecs`);
  for (const each of [ecs.cluster, ecs.service, ...(canary?.ecs === undefined ? [] : [canary.ecs.service])]) {
    if (!/^[A-Za-z0-9_-]{1,255}$/.test(each))
      throw new LambentError('configuration', `${JSON.stringify(each)} can't be the name of a cluster or a service`);
  }
  if (canary?.ecs !== undefined && (canary.ecs.cluster !== ecs.cluster || canary.ecs.port !== ecs.port))
    throw new LambentError('configuration', `${name}-canary has to be in the cluster of ${name}, and on its port`);
  return { ...ecs, canaryService: canary?.ecs?.service ?? '' };
}
