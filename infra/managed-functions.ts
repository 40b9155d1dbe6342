import type { Settings } from './settings-schema.ts';

/** A switch that puts functions on Lambda Managed Instances. */
export type ManagedSwitch = keyof typeof FUNCTIONS;

/**
 * The functions of each switch: the start of their logical ids and the setting of their memory. They share instances,
 * which AWS doesn't isolate from each other like other functions. So only functions that serve requests or run jobs
 * are included, not the authorizer, which decides who may call, or functions that administer the stage.
 * https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-capacity-providers.html
 */
const FUNCTIONS = {
  managedHttp: [
    { id: 'Chat', memory: 'chatMemoryMb' },
    { id: 'Embeddings', memory: 'embeddingsMemoryMb' },
    { id: 'Sessions', memory: 'sessionsMemoryMb' },
    { id: 'Responses', memory: 'responsesMemoryMb' },
  ],
  managedWorkers: [
    { id: 'Generate', memory: 'generateMemoryMb' },
    { id: 'Dispatch', memory: 'dispatchMemoryMb' },
  ],
} as const;

/** Memory per virtual CPU, the least that AWS offers. One virtual CPU is also the least for a function. */
export const MEMORY_MB_PER_VCPU = 2_048;

/** Returns the functions that run on managed instances, with their memory in MB. */
export function listManaged(
  settings: Settings,
): { readonly id: string; readonly setting: string; readonly mb: number }[] {
  return (Object.keys(FUNCTIONS) as ManagedSwitch[])
    .filter((name) => settings[name])
    .flatMap((name) => FUNCTIONS[name].map(({ id, memory }) => ({ id, setting: memory, mb: settings[memory] })));
}

/** Returns the virtual CPUs of one environment with this memory. */
export function countVcpus(mb: number): number {
  return mb / MEMORY_MB_PER_VCPU;
}

/** True if the stack must create a network for managed instances: they need one, and there is no other. */
export function needsNetwork(settings: Settings): boolean {
  return listManaged(settings).length > 0 && settings.gpuFleet === '' && settings.managedSubnets.length === 0;
}
