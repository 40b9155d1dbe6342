import { marshall, unmarshall } from '../aws/attributes.ts';
import { putItems, queryItems, type Table } from '../aws/table.ts';
import { type Entry, parseEntries } from './entry.ts';

const PARTITION = 'acts';
/** After every character of a time. */
const LAST = '~';

/** Stores the administrative acts among entries, so that they can be listed. Repeated calls store the same items. */
export async function storeActs(table: Table, entries: readonly Entry[], keptDays: number): Promise<void> {
  const acts = entries.filter(({ record }) => record === 'act');
  const items = acts.map((entry) =>
    marshall({
      pk: PARTITION,
      sk: getPosition(entry),
      entry: JSON.stringify(entry),
      expiresAt: Math.ceil(Date.parse(entry.time) / 1000) + keptDays * 86_400,
    }),
  );
  await putItems(table, items);
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
