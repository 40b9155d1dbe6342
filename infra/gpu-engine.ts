import { LambentError } from '../shared/core/errors.ts';
import type { Fleet } from '../shared/inference/registry.ts';

/** The ECS service of a fleet, by its names in `models.json`. */
export interface GpuService {
  readonly cluster: string;
  readonly service: string;
  /** Service of the canary's fleet. Empty without a canary. */
  readonly canaryService: string;
  readonly port: number;
}

/** The model that the engines of a fleet load. */
export interface EngineModel {
  readonly model: string;
  /** Number of the fleet's LoRA adapters. */
  readonly adapters: number;
  /** The largest context of the models that the fleet serves; undefined for the model's own. */
  readonly contextTokens: number | undefined;
}

export interface EngineSettings extends EngineModel {
  readonly port: number;
  readonly slots: number;
  readonly gpus: number;
  readonly stepTokens: number;
  readonly shutdownSeconds: number;
  /** Flags of the setting `gpuEngineFlags`. */
  readonly extraFlags: readonly string[];
}

/** Mount point of the weights in an engine's container. */
const WEIGHTS = '/weights';

/**
 * Minimum of the sequences that an engine runs at once, equal to the simulations' value. They are never fewer than the
 * slots, so that no request waits inside the engine.
 */
const MIN_SEQUENCES = 256;

/** Flags that would expose a key or content, or change how Lambent reaches the engine. */
const RESERVED = /^--(?:(?:no-)?enable-log-requests|api-key|host|port|ssl-.*|uds|root-path)(?:=|$)/;

/**
 * Returns vLLM's command line. docs/gpu-aws.md explains each flag.
 * @throws LambentError `configuration` for an extra flag that Lambent sets itself or depends on
 */
export function buildEngineCommand(settings: EngineSettings): string[] {
  const { model, adapters, contextTokens, port, slots, gpus, stepTokens, shutdownSeconds, extraFlags } = settings;
  const own = {
    '--served-model-name': model,
    '--host': '0.0.0.0',
    '--port': port,
    ...(contextTokens === undefined ? {} : { '--max-model-len': contextTokens }),
    '--max-num-seqs': Math.max(MIN_SEQUENCES, slots),
    '--max-num-batched-tokens': stepTokens,
    '--tensor-parallel-size': gpus,
    '--scheduling-policy': 'priority',
    '--shutdown-timeout': shutdownSeconds,
    ...(adapters > 0 ? { '--max-loras': adapters } : {}),
  };
  const switches = [
    '--enable-prefix-caching',
    '--enable-prompt-tokens-details',
    // A log of requests would contain prompts.
    '--no-enable-log-requests',
    '--disable-uvicorn-access-log',
    ...(adapters > 0 ? ['--enable-lora'] : []),
  ];
  const reserved = [...Object.keys(own), ...switches];
  const forbidden = extraFlags.find((flag) => RESERVED.test(flag) || reserved.includes(flag.replace(/=.*/, '')));
  if (forbidden !== undefined)
    throw new LambentError(
      'configuration',
      `The setting gpuEngineFlags must not contain ${forbidden}: Lambent sets it or depends on it`,
    );
  return [
    WEIGHTS,
    ...Object.entries(own).flatMap(([flag, value]) => [flag, String(value)]),
    ...switches,
    ...extraFlags,
  ];
}

/**
 * Returns the ECS service of a fleet and of its canary, which share a cluster.
 * @throws LambentError `configuration` if the fleet has no service, or for names with characters that ECS does not
 * allow
 */
export function findService(name: string, { ecs, engine }: Fleet, canary: Fleet | undefined): GpuService {
  if (ecs === undefined || engine !== 'vllm')
    throw new LambentError(
      'configuration',
      `gpuFleet names ${name}, which must be a fleet with the engine vllm and an ECS service`,
    );
  for (const each of [ecs.cluster, ecs.service, ...(canary?.ecs === undefined ? [] : [canary.ecs.service])]) {
    if (!/^[A-Za-z0-9_-]{1,255}$/.test(each))
      throw new LambentError(
        'configuration',
        `${JSON.stringify(each)} is not a valid name of an ECS cluster or service`,
      );
  }
  if (canary?.ecs !== undefined && (canary.ecs.cluster !== ecs.cluster || canary.ecs.port !== ecs.port))
    throw new LambentError('configuration', `${name}-canary must have the same cluster and port as ${name}`);
  return { ...ecs, canaryService: canary?.ecs?.service ?? '' };
}
