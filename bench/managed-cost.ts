import {
  EC2_M7G_XLARGE_PER_HOUR,
  LAMBDA_PER_GB_SECOND,
  LAMBDA_PER_MILLION,
  MANAGED_FEE_SHARE,
  NAT_GATEWAY_PER_HOUR,
} from './prices.ts';
import { formatNumber, type Table } from './report/report.ts';

const HOURS_PER_MONTH = 730;
const SECONDS_PER_MONTH = HOURS_PER_MONTH * 3_600;
/** The default of `chatMemoryMb`, without managed instances. */
const CHAT_GB = 1;
/** The defaults of `managedConcurrency`, `managedEnvironments` and `gpuZones`. */
const STREAMS_PER_ENVIRONMENT = 64;
const ENVIRONMENTS = 3;
const NAT_GATEWAYS = 2;
/** AWS keeps so much free that traffic can double. */
const USED_SHARE = 0.5;
/** Environments of sessions and responses, with little traffic. Each environment of 2 GB has one virtual CPU. */
const OTHER_ENVIRONMENTS = 2 * ENVIRONMENTS;
/** An m7g.xlarge has four virtual CPUs. AWS starts at least three instances. */
const VCPUS_PER_INSTANCE = 4;
const INSTANCES = 3;

/** Dollars of a month of streams from chat, which wait for models most of their time. */
export interface ManagedCost {
  readonly perSecond: number;
  /** Streams at once, on average. */
  readonly streams: number;
  /** Dollars of invocations of a request each, with the default settings. */
  readonly standard: number;
  readonly instances: number;
  /** Dollars with `managedHttp`, in a network that exists already. */
  readonly managed: number;
  /** Dollars with `managedHttp` and the NAT gateways of the stack's own network. */
  readonly managedWithNetwork: number;
}

/** Returns the costs of requests at a constant rate, each of which streams for so many seconds. */
export function computeManagedCost(perSecond: number, seconds: number): ManagedCost {
  const streams = perSecond * seconds;
  const requests = (perSecond * SECONDS_PER_MONTH * LAMBDA_PER_MILLION) / 1e6;
  const environments = Math.max(ENVIRONMENTS, Math.ceil(streams / (STREAMS_PER_ENVIRONMENT * USED_SHARE)));
  const instances = Math.max(INSTANCES, Math.ceil((environments + OTHER_ENVIRONMENTS) / VCPUS_PER_INSTANCE));
  const managed = requests + instances * HOURS_PER_MONTH * EC2_M7G_XLARGE_PER_HOUR * (1 + MANAGED_FEE_SHARE);
  return {
    perSecond,
    streams,
    standard: requests + streams * CHAT_GB * SECONDS_PER_MONTH * LAMBDA_PER_GB_SECOND,
    instances,
    managed,
    managedWithNetwork: managed + NAT_GATEWAYS * HOURS_PER_MONTH * NAT_GATEWAY_PER_HOUR,
  };
}

/**
 * Returns the lowest rate, in hundredths of a request a second, from which on managed instances cost less than the
 * default.
 */
export function findManagedBreakEven(seconds: number, cost: 'managed' | 'managedWithNetwork'): number {
  for (let hundredths = 1; ; hundredths += 1) {
    const costs = computeManagedCost(hundredths / 100, seconds);
    if (costs[cost] < costs.standard) return hundredths / 100;
  }
}

/** Returns a table of the costs by rate, for answers of so many seconds. */
export function createManagedTable(seconds: number): Table {
  const from = (['managed', 'managedWithNetwork'] as const).map((cost) =>
    formatNumber(findManagedBreakEven(seconds, cost)),
  );
  return {
    caption: `US dollars a month of chat without and with \`managedHttp\`, with answers of ${seconds} s. Managed instances cost less from ${from.join(' requests a second on, and with the stack’s own network from ')} on`,
    columns: ['requests a second', 'streams at once', 'default', 'instances', 'managed', 'with the network'],
    rows: [0.1, 0.5, 1, 2, 5, 10, 50, 100].map((rate) => {
      const { streams, standard, instances, managed, managedWithNetwork } = computeManagedCost(rate, seconds);
      return [rate, streams, standard, instances, managed, managedWithNetwork].map(formatNumber);
    }),
  };
}
