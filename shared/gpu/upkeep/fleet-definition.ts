/** What `models.json` says of a fleet, as far as its upkeep goes. */
export interface FleetDefinition {
  readonly engine: Engine;
  /** Machines that are known by name, wherever they stand. */
  readonly workers: readonly { readonly id: string; readonly url: string; readonly slots?: number | undefined }[];
  /** The ECS service whose tasks are workers. */
  readonly ecs?: EcsService | undefined;
  /** Reference of the key that the engines ask for. */
  readonly apiKey?: string | undefined;
  /** Requests that a worker runs well at once. */
  readonly slots: number;
  /** Share of each worker's slots that batch work leaves to interactive work. */
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

/** By what the number of workers that a fleet needs is told; docs/gpu-fleet.md has the formula. */
export interface ScalingSettings {
  /** What one worker does in a second: prompt tokens, and answered tokens twice. */
  readonly tokensPerSecond: number;
  /** Seconds in which what waits should be done. */
  readonly drainSeconds: number;
  readonly minWorkers: number;
  readonly maxWorkers: number;
}
