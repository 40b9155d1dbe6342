/** The part of a fleet's entry in `models.json` that its upkeep uses. */
export interface FleetDefinition {
  readonly engine: Engine;
  /** Machines that are listed by address, on premises or in another cloud. */
  readonly workers: readonly { readonly id: string; readonly url: string; readonly slots?: number | undefined }[];
  /** The ECS service whose tasks are workers. */
  readonly ecs?: EcsService | undefined;
  /** Reference to the API key of the engines. */
  readonly apiKey?: string | undefined;
  /** Number of requests that a worker runs well at once. */
  readonly slots: number;
  /** Share of each worker's slots that batch work leaves free for interactive work. */
  readonly reserve: number;
  /** LoRA adapters by name, each with the path that the engine loads it from. */
  readonly lora: Readonly<Record<string, string>>;
  readonly scaling: ScalingSettings;
}

export type Engine = 'vllm' | 'sglang' | 'llama.cpp' | 'other';

export interface EcsService {
  readonly cluster: string;
  readonly service: string;
  readonly port: number;
}

/** The parameters of the formula for the number of workers that a fleet needs, in docs/gpu-fleet.md. */
export interface ScalingSettings {
  /** One worker's throughput: prompt tokens, and output tokens twice, per second. */
  readonly tokensPerSecond: number;
  /** Seconds in which the backlog should be finished. */
  readonly drainSeconds: number;
  readonly minWorkers: number;
  readonly maxWorkers: number;
}
