import { omitUndefined } from '../../shared/core/objects.ts';
import type { FaultyService } from './fault-responses.ts';
import { type Exchange, type Fault, type FaultProxy, type FaultShares, startFaultProxy } from './proxy.ts';
import { createSeededRandom } from './random.ts';

export interface FaultOptions {
  /** The same seed injects the same faults into the same sequence of requests. */
  readonly seed: number;
  /** Initial shares of each service's faults; no faults for a service that is absent. */
  readonly shares?: Readonly<Partial<Record<FaultyService, FaultShares>>>;
  /** Milliseconds by which `slow` requests are delayed. */
  readonly slowMs?: number;
  /** Called with every request that a service performed, before the client gets the response. */
  readonly onExchange?: (exchange: Exchange) => void;
}

/** Controls the faults between the functions and the stand-ins. */
export interface Faults {
  /** Sets a service's shares for the requests that follow. */
  set(service: FaultyService, shares: FaultShares): void;
  /** Returns each service's number of requests, and how many of them got each fault. */
  counts(): Readonly<Record<FaultyService, Readonly<Record<Fault | 'requests', number>>>>;
}

export interface StartedFaults extends Faults {
  /** Base URL of each service's proxy. */
  readonly urls: Readonly<Record<FaultyService, string>>;
  close(): Promise<void>;
}

/**
 * Starts a fault proxy in front of each stand-in.
 * @param targets base URLs of the stand-ins
 */
export async function startFaults(
  { seed, shares = {}, slowMs, onExchange }: FaultOptions,
  targets: Readonly<Record<FaultyService, string>>,
): Promise<StartedFaults> {
  // Each service has its own seed, so that its faults don't depend on calls of other services.
  const start = (service: FaultyService, offset: number): Promise<FaultProxy> =>
    startFaultProxy({
      service,
      target: targets[service],
      random: createSeededRandom(seed + offset),
      shares: shares[service] ?? {},
      ...omitUndefined({ slowMs, onExchange }),
    });
  const [dynamodb, sqs, kms, s3] = await Promise.all([
    start('dynamodb', 0),
    start('sqs', 1),
    start('kms', 2),
    start('s3', 3),
  ]);
  const proxies: Readonly<Record<FaultyService, FaultProxy>> = { dynamodb, sqs, kms, s3 };
  return {
    urls: { dynamodb: dynamodb.url, sqs: sqs.url, kms: kms.url, s3: s3.url },
    set: (service, next) => proxies[service].set(next),
    counts: () => ({ dynamodb: dynamodb.counts(), sqs: sqs.counts(), kms: kms.counts(), s3: s3.counts() }),
    async close() {
      await Promise.all(Object.values(proxies).map((proxy) => proxy.close()));
    },
  };
}
