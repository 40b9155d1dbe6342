import { SQSClient } from '@aws-sdk/client-sqs';
import type { AccessKey } from '../access/access-keys.ts';
import { ACCOUNT_ID } from '../lambda/function.ts';
import type { Runner } from '../lambda/runner.ts';
import type { References } from '../service/references.ts';
import type { Service } from '../service/service.ts';
import { startEventSource } from './event-source.ts';

export interface EventSources {
  /** Returns the number of messages that functions are processing. */
  running(): number;
  /** Returns the number of pollers that a function's mappings have at this moment. */
  pollers(name: string): number;
  close(): void;
}

/** Concurrency of a mapping that sets no maximum: more than a laptop can serve at once. */
const MAXIMUM_CONCURRENCY = 100;

/** Starts the event source mappings that the service defines. Their queues must exist. */
export function startEventSources(
  service: Service,
  references: References,
  queuesUrl: string,
  credentials: AccessKey,
  runner: Pick<Runner, 'invoke'>,
): EventSources {
  const client = new SQSClient({ endpoint: queuesUrl, region: service.region, credentials });
  const sources = service.eventSources.map(({ arn, maximumConcurrency = MAXIMUM_CONCURRENCY, ...source }) => {
    const queueArn = String(references.resolve(arn, `functions.${source.function}.events.sqs.arn`));
    const queueUrl = `${queuesUrl}/${ACCOUNT_ID}/${queueArn.slice(queueArn.lastIndexOf(':') + 1)}`;
    const options = { ...source, maximumConcurrency, queueArn, queueUrl, client, runner };
    return { function: source.function, source: startEventSource(options) };
  });
  const sum = (values: number[]) => values.reduce((all, value) => all + value, 0);
  return {
    running: () => sum(sources.map(({ source }) => source.running())),
    pollers: (name) => sum(sources.map((each) => (each.function === name ? each.source.pollers() : 0))),
    close() {
      for (const { source } of sources) source.close();
      client.destroy();
    },
  };
}
