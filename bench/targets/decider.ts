/**
 * Client process that only places requests and leases slots: `node decider.ts <DecisionRun as JSON>` prints
 * `DecisionTimes[]` as JSON.
 */
import { setTimeout as sleepFor } from 'node:timers/promises';
import { BatchGetItemCommand, GetItemCommand, QueryCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { createDynamoDBClient } from '../../shared/aws/dynamodb.ts';
import { newId } from '../../shared/core/ids.ts';
import type { PromptPrefixes } from '../../shared/gpu/placement/prompt.ts';
import { SLOT_SETTINGS } from '../../shared/gpu/placement/settings.ts';
import { createSlotAllocator } from '../../shared/gpu/placement/slot-allocator.ts';
import { createDynamoDBFleetStore } from '../../shared/gpu/registry/dynamodb-fleet.ts';
import { encodeLease, number, text, toPrefixKey, toWorkerKey } from '../../shared/gpu/registry/fleet-items.ts';
import type { FleetStore } from '../../shared/gpu/registry/fleet-store.ts';
import { type Conversation, createConversations, createNextTurn, toPrefixes } from './conversations.ts';
import type { Cell, DecisionRun, DecisionTimes } from './decisions.ts';
import { BOOT_ID, FLEET_TABLE, PLAIN_KEY, SLOTS, toFleetName, toTenantName, toWorkerId } from './fleet-table.ts';
import { MODEL } from './functions.ts';

/** Milliseconds of one decision. */
interface Decision {
  readonly placedMs: number;
  readonly hashedMs: number;
  readonly releasedMs: number;
  readonly prompt: PromptPrefixes;
}

const EXPECTED_OUTPUT_TOKENS = 350;
const NEVER = new AbortController().signal;

const { cells, count, warmUp, withComparison } = JSON.parse(process.argv[2] ?? '') as DecisionRun;
/** Makes this process's prompts unique. */
const run = newId();
const client = createDynamoDBClient();
const table = createDynamoDBFleetStore(client, { tableName: FLEET_TABLE });
let refusedLeases = 0;
let fleetReads = 0;
/** The last write to the prefix directory. */
let written: Promise<void> = Promise.resolve();
const store: FleetStore = {
  ...table,
  read(fleet) {
    fleetReads += 1;
    return table.read(fleet);
  },
  async lease(...args) {
    const granted = await table.lease(...args);
    if (!granted) refusedLeases += 1;
    return granted;
  },
  recordHolders(...entries) {
    written = table.recordHolders(...entries);
    return written;
  },
};
const slots = createSlotAllocator(
  {
    store,
    now: Date.now,
    random: Math.random,
    sleep: (ms, signal) => sleepFor(ms, undefined, { signal, ref: false }).catch(() => {}),
    newId: () => newId(12),
  },
  SLOT_SETTINGS,
);

/** Places a turn and leases a slot for it, marks its first token, and releases the slot. */
async function decide({ fleet: size, holdMs }: Cell, talk: Conversation, name: string): Promise<Decision> {
  const fleet = toFleetName(size);
  const { tenant } = talk;
  const messages = createNextTurn(talk, `${run} ${name}`);
  const startedAt = performance.now();
  const prompt = toPrefixes(fleet, tenant, messages);
  const hashedAt = performance.now();
  const request = {
    fleet,
    model: MODEL,
    tier: 'interactive' as const,
    tenant,
    prompt,
    expectedOutputTokens: EXPECTED_OUTPUT_TOKENS,
  };
  const slot = await slots.acquire(request, NEVER);
  const placedAt = performance.now();
  // A real request lasts longer than this write.
  await written;
  await slot.markFirstToken();
  if (holdMs > 0) await sleepFor(holdMs);
  const endedAt = performance.now();
  await slot.release();
  const releasedMs = performance.now() - endedAt;
  return { placedMs: placedAt - startedAt, hashedMs: hashedAt - startedAt, releasedMs, prompt };
}

/** Returns the milliseconds of the requests that a decision waits for, without any other work. */
async function measureSameRequests({ fleet: size }: Cell, { prefixes }: PromptPrefixes): Promise<number> {
  const fleet = toFleetName(size);
  const id = newId(12);
  const expiresAt = Date.now() + SLOT_SETTINGS.leaseMs;
  const lease = encodeLease({ tier: 'interactive', tenant: toTenantName(0), pendingTokens: 0, weight: 0, expiresAt });
  const Keys = prefixes.map(({ hash }) => toPrefixKey(fleet, hash));
  const startedAt = performance.now();
  await Promise.all([
    client.send(
      new QueryCommand({
        TableName: FLEET_TABLE,
        KeyConditionExpression: 'pk = :pk',
        ExpressionAttributeValues: { ':pk': text(`fleet#${fleet}`) },
        ConsistentRead: true,
      }),
    ),
    client.send(new BatchGetItemCommand({ RequestItems: { [FLEET_TABLE]: { Keys } } })),
  ]);
  await client.send(
    new UpdateItemCommand({
      TableName: FLEET_TABLE,
      Key: toWorkerKey(fleet, toWorkerId(0)),
      UpdateExpression: 'SET leases.#id = :lease',
      ConditionExpression:
        'bootId = :bootId AND #state = :ready AND (attribute_exists(leases.#id) OR size(leases) < :limit)',
      ExpressionAttributeNames: { '#id': id, '#state': 'state' },
      ExpressionAttributeValues: {
        ':lease': lease,
        ':bootId': text(BOOT_ID),
        ':ready': text('ready'),
        ':limit': number(SLOTS),
      },
    }),
  );
  const ms = performance.now() - startedAt;
  await table.release(fleet, toWorkerId(0), id);
  return ms;
}

/** Returns the milliseconds of as many round trips, in the same order, that read and write a small item. */
async function measurePlainRequests(): Promise<number> {
  const read = () => client.send(new GetItemCommand({ TableName: FLEET_TABLE, Key: PLAIN_KEY, ConsistentRead: true }));
  const startedAt = performance.now();
  await Promise.all([read(), read()]);
  await client.send(
    new UpdateItemCommand({
      TableName: FLEET_TABLE,
      Key: PLAIN_KEY,
      UpdateExpression: 'SET #count = :count',
      ExpressionAttributeNames: { '#count': 'count' },
      ExpressionAttributeValues: { ':count': number(1) },
    }),
  );
  return performance.now() - startedAt;
}

async function measure(cell: Cell, decisions: number): Promise<DecisionTimes> {
  const talks = createConversations(cell.promptTokens);
  const times = createTimes();
  const turns = Array.from({ length: decisions }, (_, index) => index).values();
  const runDecider = async () => {
    for (const turn of turns) {
      const talk = talks[turn % talks.length];
      if (talk === undefined) continue;
      const { prompt, placedMs, hashedMs, releasedMs } = await decide(cell, talk, String(turn));
      times.placedMs.push(placedMs);
      times.hashedMs.push(hashedMs);
      times.releasedMs.push(releasedMs);
      if (!withComparison) continue;
      times.sameMs.push(await measureSameRequests(cell, prompt));
      times.plainMs.push(await measurePlainRequests());
    }
  };
  refusedLeases = 0;
  fleetReads = 0;
  await Promise.all(Array.from({ length: cell.deciders }, runDecider));
  return { ...times, refusedLeases, fleetReads };
}

function createTimes() {
  const createList = (): number[] => [];
  return {
    placedMs: createList(),
    hashedMs: createList(),
    releasedMs: createList(),
    sameMs: createList(),
    plainMs: createList(),
  };
}

// Neither a decider's pause nor an idle connection keeps the process alive: without this timer it could exit between
// two fleet reads.
setInterval(() => {}, 60_000);
const [first] = cells;
if (first !== undefined && warmUp > 0) await measure(first, warmUp);
const decided: DecisionTimes[] = [];
for (const cell of cells) decided.push(await measure(cell, count));
process.stdout.write(JSON.stringify(decided), () => process.exit(0));
