import { marshall, unmarshall } from '../aws/attributes.ts';
import { putItems, queryItems, type Table } from '../aws/table.ts';
import { limitDetails } from './act-details.ts';
import { type Entry, parseEntries } from './entry.ts';

const PARTITION = 'acts';
/** After every character of a time. */
const LAST = '~';

/** Below the 400 KB that an item of DynamoDB may have. */
const MAX_ENTRY_BYTES = 350_000;

/**
 * Stores the administrative acts among entries, so that they can be listed. Repeated calls store the same items. An act that an item
 * has no room for isn't stored: no function logs such a line, and an error would stop its chain for good.
 */
export async function storeActs(table: Table, entries: readonly Entry[], keptDays: number): Promise<void> {
  const items = entries.flatMap((entry) => {
    const json = entry.record === 'act' ? encodeAct(entry) : undefined;
    if (json === undefined) return [];
    const expiresAt = Math.ceil(Date.parse(entry.time) / 1000) + keptDays * 86_400;
    return [marshall({ pk: PARTITION, sk: getPosition(entry), entry: json, expiresAt })];
  });
  await putItems(table, items);
}

/** Returns an act as JSON, or undefined if it is too large for an item. An earlier version logged details of any size. */
function encodeAct({ details, ...act }: Entry): string | undefined {
  const json = JSON.stringify(details === undefined ? act : { ...act, details: limitDetails(details) });
  return Buffer.byteLength(json) <= MAX_ENTRY_BYTES ? json : undefined;
}

/** Where to list acts: between two positions, both excluded, which are times (ISO 8601) or what `getPosition` returns. */
export interface ActRange {
  readonly after?: string | undefined;
  readonly before?: string | undefined;
  readonly newestFirst: boolean;
}

/** Yields the administrative acts in a range of positions, in the order of time. */
export async function* listActs(
  table: Table,
  { after = '', before = LAST, newestFirst }: ActRange,
): AsyncGenerator<Entry> {
  if (after >= before) return;
  const query = {
    where: 'pk = :pk AND sk BETWEEN :after AND :before',
    values: marshall({ ':pk': PARTITION, ':after': after === '' ? ' ' : after, ':before': before }),
    newestFirst,
  };
  for await (const item of queryItems(table, query)) {
    const { sk, entry } = unmarshall(item);
    if (sk !== after && sk !== before) yield* parseEntries(String(entry));
  }
}

/** Returns the position of an act in the list. */
export function getPosition({ time, id }: Entry): string {
  return `${time}#${id}`;
}
