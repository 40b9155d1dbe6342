import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { startTables } from '../../../local/tables.ts';
import type { PromptPrefixes } from '../../../shared/gpu/placement/prompt.ts';
import type { LeaseRequest } from '../../../shared/gpu/registry/fleet-store.ts';
import type { Lease, UnmetDemand, Waiter, Worker } from '../../../shared/gpu/registry/worker.ts';
import { createTableInput } from '../../tables.ts';
import { exists } from '../jobs/services.ts';

/** The time at which the tests' clocks start: epoch milliseconds. */
export const START = 1_800_000_000_000;

export const FLEET = 'qwen';
export const MODEL = 'Qwen/Qwen3-8B';

/** Returns a ready worker without leases, with the given changes. */
export function createWorker(changes: Partial<Worker> = {}): Worker {
  const id = changes.id ?? 'w1';
  return {
    fleet: FLEET,
    id,
    url: `http://${id}:8000/v1`,
    bootId: 'boot-1',
    state: 'ready',
    slots: 4,
    models: [MODEL],
    source: 'static',
    seenAt: START,
    leases: {},
    ...changes,
  };
}

/** Returns an interactive lease of `acme`, with the given changes. */
export function createLease(changes: Partial<Lease> = {}): Lease {
  return {
    tier: 'interactive',
    tenant: 'acme',
    pendingTokens: 100,
    weight: 300,
    expiresAt: START + 45_000,
    ...changes,
  };
}

/** Returns a request for a lease of `createWorker()`. */
export function createLeaseRequest(changes: Partial<LeaseRequest> = {}): LeaseRequest {
  return { id: 'lease-1', lease: createLease(), bootId: 'boot-1', cap: 4, expired: [], now: START, ...changes };
}

/** Returns an interactive waiter of `acme`, with the given changes. */
export function createWaiter(changes: Partial<Waiter> = {}): Waiter {
  return {
    id: 'waiter-1',
    model: MODEL,
    tier: 'interactive',
    tenant: 'acme',
    weight: 300,
    expiresAt: START + 3_000,
    ...changes,
  };
}

/** Returns an unmet demand for `MODEL`, with the given changes. */
export function createUnmetDemand(changes: Partial<UnmetDemand> = {}): UnmetDemand {
  return { model: MODEL, tier: 'interactive', weight: 300, expiresAt: START + 120_000, ...changes };
}

/** Returns a prompt of `bytes` bytes with the given prefixes. */
export function createPrompt(bytes: number, ...prefixes: readonly [hash: string, bytes: number][]): PromptPrefixes {
  return { bytes, prefixes: prefixes.map(([hash, length]) => ({ hash, bytes: length })) };
}

/** The DynamoDB stand-in, with tables for fleets. */
export interface FleetTables extends AsyncDisposable {
  readonly client: DynamoDBClient;
  readonly url: string;
  /** Creates an empty table and returns its name. */
  newTable(): Promise<string>;
}

/** Starts the DynamoDB stand-in for tables of fleets. */
export async function startFleetTables(): Promise<FleetTables> {
  const tables = await startTables({});
  const client = new DynamoDBClient({
    region: 'eu-west-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    endpoint: tables.url,
  });
  let created = 0;
  return {
    client,
    url: tables.url,
    async newTable() {
      created += 1;
      const TableName = `fleet-${created}`;
      await client.send(new CreateTableCommand(createTableInput(TableName)));
      await exists(client, TableName);
      return TableName;
    },
    async [Symbol.asyncDispose]() {
      client.destroy();
      await tables.close();
    },
  };
}
