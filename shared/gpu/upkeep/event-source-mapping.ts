import {
  GetEventSourceMappingCommand,
  type LambdaClient,
  UpdateEventSourceMappingCommand,
} from '@aws-sdk/client-lambda';

/** The event source mapping that invokes dispatchers with the GPU queue's messages. Throws the errors of Lambda. */
export interface EventSourceMapping {
  /** Returns the maximum number of dispatchers at once; undefined if it is not limited. */
  getMaximumConcurrency(): Promise<number | undefined>;
  setMaximumConcurrency(maximumConcurrency: number): Promise<void>;
}

/** Creates the port to an event source mapping that calls Lambda's API. */
export function createEventSourceMapping(client: LambdaClient, UUID: string): EventSourceMapping {
  return {
    async getMaximumConcurrency() {
      const { ScalingConfig } = await client.send(new GetEventSourceMappingCommand({ UUID }));
      return ScalingConfig?.MaximumConcurrency;
    },
    async setMaximumConcurrency(MaximumConcurrency) {
      await client.send(new UpdateEventSourceMappingCommand({ UUID, ScalingConfig: { MaximumConcurrency } }));
    },
  };
}
