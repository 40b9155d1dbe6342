import {
  GetEventSourceMappingCommand,
  type LambdaClient,
  UpdateEventSourceMappingCommand,
} from '@aws-sdk/client-lambda';

/** The event source mapping of the GPU queue. Throws what Lambda throws. */
export interface Mapping {
  /** How many dispatchers it runs at once at most; undefined when that has no limit. */
  maximumConcurrency(): Promise<number | undefined>;
  limit(maximumConcurrency: number): Promise<void>;
}

export function createMapping(client: LambdaClient, UUID: string): Mapping {
  return {
    async maximumConcurrency() {
      const { ScalingConfig } = await client.send(new GetEventSourceMappingCommand({ UUID }));
      return ScalingConfig?.MaximumConcurrency;
    },
    async limit(MaximumConcurrency) {
      await client.send(new UpdateEventSourceMappingCommand({ UUID, ScalingConfig: { MaximumConcurrency } }));
    },
  };
}
