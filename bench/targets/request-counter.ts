import type { FaultyService } from '../../local/faults/fault-responses.ts';
import { type Exchange, startFaultProxy } from '../../local/faults/proxy.ts';

/** How often an operation was asked for, and the capacity units that DynamoDB says it took. */
export interface Count {
  readonly requests: number;
  readonly units: number;
}

/** Stands before a stand-in for an AWS service and counts what it is asked. */
export interface RequestCounter extends AsyncDisposable {
  readonly url: string;
  /** Base URL of the stand-in: known only when it has started. */
  target: string;
  /** By operation (`PutItem`), since the last `reset`. */
  counts(): ReadonlyMap<string, Count>;
  reset(): void;
}

/**
 * Starts a counter on 127.0.0.1: a proxy for faults that makes none. DynamoDB is also asked what each request consumes,
 * which nobody else notices.
 */
export async function startRequestCounter(service: FaultyService): Promise<RequestCounter> {
  const counts = new Map<string, Count>();
  let target = '';
  const measured = service === 'dynamodb';
  const proxy = await startFaultProxy({
    service,
    target: () => target,
    random: () => 0,
    ...(measured ? { rewrite: requestConsumedUnits } : {}),
    onExchange(exchange) {
      const operation = parseOperation(exchange);
      const { requests, units } = counts.get(operation) ?? { requests: 0, units: 0 };
      counts.set(operation, {
        requests: requests + 1,
        units: units + (measured ? readConsumedUnits(exchange.response) : 0),
      });
    },
  });
  return {
    url: proxy.url,
    get target() {
      return target;
    },
    set target(url) {
      target = url;
    },
    counts: () => new Map(counts),
    reset: () => counts.clear(),
    [Symbol.asyncDispose]: () => proxy.close(),
  };
}

/** `DynamoDB_20120810.PutItem` is `PutItem`; S3 has methods instead. */
function parseOperation({ target, method }: Exchange): string {
  return target === '' ? method : target.slice(target.lastIndexOf('.') + 1);
}

function requestConsumedUnits(body: Buffer): Buffer {
  return Buffer.from(JSON.stringify({ ...JSON.parse(body.toString('utf8')), ReturnConsumedCapacity: 'TOTAL' }));
}

interface Consumed {
  readonly CapacityUnits?: number;
}

/** One answer names one table's units, or those of several; a refused write names none, and costs one. */
function readConsumedUnits(body: Buffer): number {
  const { ConsumedCapacity = { CapacityUnits: 1 } }: { ConsumedCapacity?: Consumed | Consumed[] } = JSON.parse(
    body.toString('utf8'),
  );
  return [ConsumedCapacity].flat().reduce((sum, { CapacityUnits = 0 }) => sum + CapacityUnits, 0);
}
