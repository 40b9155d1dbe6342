import type { FaultyService } from './fault-responses.ts';
import { type Exchange, type Fault, type FaultProxy, type FaultShares, startFaultProxy } from './proxy.ts';
import { createSeededRandom } from './random.ts';

export interface FaultOptions {
  /** The same seed gives the same faults to the same sequence of requests. */
  readonly seed: number;
  /** What each service's requests meet at first; nothing where it is absent. */
  readonly shares?: Readonly<Partial<Record<FaultyService, FaultShares>>>;
  /** Sees what each service carried out, before whoever asked for it does. */
  readonly onExchange?: (exchange: Exchange) => void;
}

/** Faults between the functions and the stand-ins, which can be changed while they run. */
export interface Faults {
  set(service: FaultyService, shares: FaultShares): void;
  counts(): Readonly<Record<FaultyService, Readonly<Record<Fault | 'requests', number>>>>;
}

export interface StartedFaults extends Faults {
  /** Where each service is reached through its faults. */
  readonly urls: Readonly<Record<FaultyService, string>>;
  close(): Promise<void>;
}

/**
 * Puts faults in front of the stand-ins.
 * @param targets base URLs of the stand-ins
 */
export async function startFaults(
  { seed, shares = {}, onExchange }: FaultOptions,
  targets: Readonly<Record<FaultyService, string>>,
): Promise<StartedFaults> {
  // A seed of its own for each service, so that the order in which services are called makes no difference.
  const start = (service: FaultyService, offset: number): Promise<FaultProxy> =>
    startFaultProxy({
      service,
      target: targets[service],
      random: createSeededRandom(seed + offset),
      shares: shares[service] ?? {},
      ...(onExchange === undefined ? {} : { onExchange }),
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
