import type { AccessKeys } from '../../local/access/access-keys.ts';
import type { FaultyService } from '../../local/faults/fault-responses.ts';
import { type Exchange, startFaultProxy } from '../../local/faults/proxy.ts';

/** Requests of an operation, and the capacity units that DynamoDB reports for them. */
export interface Count {
  readonly requests: number;
  readonly units: number;
}

/** A proxy before a stand-in for an AWS service that counts requests. */
export interface RequestCounter extends AsyncDisposable {
  readonly url: string;
  /** Base URL of the stand-in, set once the stand-in has started. */
  target: string;
  /** Returns the counts since the last `reset`, by operation (`PutItem`). */
  counts(): ReadonlyMap<string, Count>;
  reset(): void;
}

/**
 * Starts a counter on 127.0.0.1: a fault proxy that injects no faults. It also asks DynamoDB for the units that each
 * request consumes; clients ignore that part of the response.
 * @param accessKeys the keys with which requests are signed; empty if the stand-in checks no signatures
 */
export async function startRequestCounter(
  service: FaultyService,
  accessKeys: AccessKeys = new Map(),
): Promise<RequestCounter> {
  const counts = new Map<string, Count>();
  let target = '';
  const measured = service === 'dynamodb';
  const proxy = await startFaultProxy({
    service,
    target: () => target,
    random: () => 0,
    ...(measured ? { rewrite: requestConsumedUnits, accessKeys } : {}),
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

/** Returns `PutItem` for `DynamoDB_20120810.PutItem`. For S3, returns the HTTP method. */
function parseOperation({ target, method }: Exchange): string {
  return target === '' ? method : target.slice(target.lastIndexOf('.') + 1);
}

function requestConsumedUnits(body: Buffer): Buffer {
  return Buffer.from(JSON.stringify({ ...JSON.parse(body.toString('utf8')), ReturnConsumedCapacity: 'TOTAL' }));
}

interface Consumed {
  readonly CapacityUnits?: number;
}

/**
 * Returns the consumed units of a response, which lists one table or several. A refused write lists none and costs one
 * unit.
 */
function readConsumedUnits(body: Buffer): number {
  const { ConsumedCapacity = { CapacityUnits: 1 } }: { ConsumedCapacity?: Consumed | Consumed[] } = JSON.parse(
    body.toString('utf8'),
  );
  return [ConsumedCapacity].flat().reduce((sum, { CapacityUnits = 0 }) => sum + CapacityUnits, 0);
}
