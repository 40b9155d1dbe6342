import { marshall, unmarshall } from '../aws/attributes.ts';
import { getItem, putItem, type Table, updateItem } from '../aws/table.ts';
import type { ChainStore } from './chain.ts';
import { type Digest, parseDigest } from './digest.ts';

/** How long a batch is known as recorded, in seconds: Lambda retries for hours, and a failed batch can wait for 14 days. */
const RECORDED_SECONDS = 30 * 86_400;

/** Keeps the chains' heads, and which batches are recorded, in the usage table. */
export function createChainTable(table: Table): ChainStore {
  return {
    async readHead(chain) {
      const item = await getItem(table, getHeadKey(chain));
      if (item === undefined) return undefined;
      const { digest, settled } = unmarshall(item);
      return { ...parseDigest(String(digest)), isSettled: settled === true };
    },
    async advance({ text, digest: { chain, sequence } }) {
      return updateItem(table, getHeadKey(chain), {
        change: 'SET digest = :digest, #sequence = :sequence, settled = :settled',
        condition: sequence === 1 ? 'attribute_not_exists(pk)' : '#sequence = :before',
        names: { '#sequence': 'sequence' },
        values: marshall({
          ':digest': text,
          ':sequence': sequence,
          ':settled': false,
          ...(sequence > 1 && { ':before': sequence - 1 }),
        }),
      });
    },
    async markSettled({ chain, sequence }) {
      await updateItem(table, getHeadKey(chain), {
        change: 'SET settled = :true',
        condition: '#sequence = :sequence',
        names: { '#sequence': 'sequence' },
        values: marshall({ ':true': true, ':sequence': sequence }),
      });
    },
    async isRecorded(batch) {
      return (await getItem(table, getBatchKey(batch))) !== undefined;
    },
    async markRecorded({ batch, chain, sequence, at }: Digest) {
      const expiresAt = Math.floor(Date.parse(at) / 1000) + RECORDED_SECONDS;
      await putItem(table, { ...getBatchKey(batch), ...marshall({ chain, sequence, expiresAt }) });
    },
  };
}

const getHeadKey = (chain: number) => marshall({ pk: `chain#${chain}`, sk: 'head' });
const getBatchKey = (batch: string) => marshall({ pk: `batch#${batch}`, sk: 'batch' });
