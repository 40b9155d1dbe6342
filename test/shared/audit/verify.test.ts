import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appendToChain } from '../../../shared/audit/chain.ts';
import {
  findChain,
  getChainPrefix,
  getDigestKey,
  getDigestPrefix,
  hashText,
  parseDigest,
  parseSignedDigest,
} from '../../../shared/audit/digest.ts';
import { packEntries, readEntries, unpackEntries } from '../../../shared/audit/entry.ts';
import { StrayFinder } from '../../../shared/audit/strays.ts';
import type { VerifiedDigest, VerifyOptions } from '../../../shared/audit/verify.ts';
import { type AuditLog, type AuditWorld, KEPT_DAYS, makeBatch, startAuditWorld } from './audit-world.ts';

let world: AuditWorld;
let log: AuditLog;
const { logGroup, logStream } = makeBatch('a', 'stream', []);
const chain = findChain({ logGroup, logStream });
beforeAll(async () => {
  world = await startAuditWorld();
  log = await world.newLog();
  for (const id of ['a', 'b', 'c', 'd']) {
    const batch = makeBatch(id, 'stream', [{ requestId: id, tenant: 'acme' }]);
    await appendToChain(batch, readEntries(batch).entries, log.ports);
  }
});
afterAll(() => world[Symbol.asyncDispose]());

const digestKey = (sequence: number) => getDigestKey({ chain, sequence });

async function listAll(prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const name of log.objects.listKeys(prefix)) names.push(name);
  return names;
}

async function readDigest(sequence: number) {
  const bytes = await log.objects.get(digestKey(sequence));
  const signed = parseSignedDigest(bytes ?? Buffer.of());
  return { signed, digest: parseDigest(signed.digest) };
}

/** Verifies the chain with some objects changed, or removed if their content is undefined. */
function verifyChanged(
  changed: Readonly<Record<string, string | Uint8Array | undefined>>,
  more?: Partial<VerifyOptions>,
) {
  const objects: VerifyOptions['objects'] = {
    async *listKeys(...where) {
      for await (const name of log.objects.listKeys(...where))
        if (!(name in changed) || changed[name] !== undefined) yield name;
    },
    get: async (key) => {
      if (!(key in changed)) return log.objects.get(key);
      const content = changed[key];
      return typeof content === 'string' ? Buffer.from(content) : content;
    },
  };
  return log.verify(chain, { objects, ...more });
}

it('a chain that is as it was written has no problem', async () => {
  expect(await log.verify(chain)).toBeUndefined();
  expect(await listAll(getDigestPrefix(chain))).toHaveLength(4);
});

it('a digest that is missing is named, at the end as well', async () => {
  const missing = (sequence: number) => verifyChanged({ [digestKey(sequence)]: undefined });
  expect(await missing(2)).toEqual({ chain, sequence: 3, problem: 'the digest 2 is missing' });
  expect(await missing(4)).toEqual({ chain, sequence: 4, problem: 'the digest is missing: the head is 4' });
  expect(await missing(1)).toEqual({
    ...{ chain, sequence: 2 },
    problem: 'the digest before is missing, and has not expired',
  });
});

it('objects that no digest of the chain names are strays, and do not disturb its verification', async () => {
  const prefix = `audit/${chain}`;
  const others = ['000000000001.json.bak', '1.json', 'x/000000000002.json', 'digest.json', '00000000000000000001.json'];
  const forged = [
    `${prefix}/entries/${new Date(log.ports.now() - 86_400_000 * 9).toISOString().slice(0, 10)}/forged.ndjson.gz`,
    ...others.map((name) => `${prefix}/digests/${name}`),
  ];
  const elsewhere = ['!.txt', 'digests', 'digests0', 'elsewhere/a', 'entries', 'entries0', 'notes.txt'];
  forged.push(...elsewhere.map((name) => `${prefix}/${name}`));
  const { strays, problem, referred } = await findStrays(forged);
  expect(problem).toBeUndefined();
  expect(referred).toBe(4);
  expect(strays.entries).toEqual([forged[0]]);
  expect(strays.others.toSorted()).toEqual(forged.slice(1).toSorted());
  // Days later, the names of entries are compared day by day.
  const later = log.ports.now() + 5 * 86_400_000;
  expect((await findStrays(forged, { now: () => later })).strays.entries).toEqual([forged[0]]);
});

/** Verifies the chain with further objects in its bucket, and finds those that are no part of it. */
async function findStrays(forged: readonly string[], options: Partial<VerifyOptions> = {}) {
  const objects: VerifyOptions['objects'] = {
    ...log.objects,
    async *listKeys(prefix, after = '') {
      const names = await listAll(getChainPrefix(chain));
      const found = [...names, ...forged].filter((name) => name.startsWith(prefix) && name > after);
      yield* found.toSorted();
    },
  };
  const expiry = { keptDays: KEPT_DAYS, now: options.now ?? log.ports.now };
  const finder = await StrayFinder.begin(chain, objects, expiry, options.from?.at);
  const foreign = new Set<string>();
  let referred = 0;
  const problem = await log.verify(chain, {
    ...{ objects, ...options },
    onForeignName: (name) => void foreign.add(name),
    async onDigest({ entries, at }) {
      referred += 1;
      await finder.refer(entries.key, at);
    },
  });
  const [entries, others] = [await finder.finish(), await finder.findOthers()];
  return { problem, referred, strays: { entries, others: [...foreign, ...others] } };
}

/** Returns a digest up to which the chain was verified. */
async function readVerified(sequence: number): Promise<VerifiedDigest> {
  const { text, digest } = (await readDigest(sequence)).digest;
  return { sequence, hash: hashText(text), at: digest.at };
}

describe('a chain that was verified before', () => {
  it('is continued, and nothing before is read', async () => {
    const from = await readVerified(2);
    const read: string[] = [];
    const get = async (key: string) => {
      read.push(key);
      return log.objects.get(key);
    };
    const seen: number[] = [];
    const onDigest: VerifyOptions['onDigest'] = ({ sequence }) => void seen.push(sequence);
    const objects = { ...log.objects, get };
    expect(await log.verify(chain, { objects, from, onDigest })).toBeUndefined();
    expect(seen).toEqual([3, 4]);
    expect(read.filter((key) => key.includes('/digests/'))).toEqual([digestKey(3), digestKey(4)]);
    expect(await log.verify(chain, { from: await readVerified(4) })).toBeUndefined();
  });

  it('must follow what was verified, and lead to the head', async () => {
    const from = await readVerified(2);
    const verifyFrom = (changes: Partial<VerifiedDigest>) => log.verify(chain, { from: { ...from, ...changes } });
    expect(await verifyFrom({ hash: '0'.repeat(64) })).toMatchObject({
      ...{ sequence: 3, problem: expect.stringMatching(/doesn't follow/) },
    });
    const last = await readVerified(4);
    expect(await verifyFrom({ ...last, hash: from.hash })).toMatchObject({
      problem: expect.stringMatching(/differs from the head/),
    });
    expect(await verifyFrom({ ...last, sequence: 5 })).toMatchObject({
      problem: 'the head is 4, but 5 was verified before',
    });
    expect(await verifyChanged({ [digestKey(3)]: undefined }, { from })).toMatchObject({
      ...{ sequence: 4, problem: 'the digest 3 is missing' },
    });
    const gone = { head: undefined, readHead: async () => undefined };
    expect(await log.verify(chain, { from, ...gone })).toMatchObject({ problem: expect.stringMatching(/no head/) });
  });

  it('has strays on the days after', async () => {
    const from = await readVerified(2);
    const prefix = `audit/${chain}/entries`;
    const nextDay = new Date(Date.parse(from.at) + 86_400_000).toISOString().slice(0, 10);
    const names = [`${prefix}/${from.at.slice(0, 10)}/forged.ndjson.gz`, `${prefix}/${nextDay}/forged.ndjson.gz`];
    const now = () => log.ports.now() + 5 * 86_400_000;
    expect((await findStrays(names, { from, now })).strays.entries).toEqual([names[1]]);
  });
});

it('many digests are read at once, and in their order', async () => {
  let [running, most] = [0, 0];
  const get = async (key: string) => {
    running += 1;
    most = Math.max(most, running);
    try {
      return await log.objects.get(key);
    } finally {
      running -= 1;
    }
  };
  const seen: number[] = [];
  const onDigest: VerifyOptions['onDigest'] = ({ sequence }) => void seen.push(sequence);
  expect(await log.verify(chain, { objects: { ...log.objects, get }, onDigest })).toBeUndefined();
  expect(most).toBe(4);
  expect(seen).toEqual([1, 2, 3, 4]);
});

it('digests before an object that cannot be read are verified, and its error is thrown', async () => {
  const get = async (key: string) => {
    if (key === digestKey(3)) throw new Error('S3 is away');
    return log.objects.get(key);
  };
  const verified: VerifiedDigest[] = [];
  const onDigest: VerifyOptions['onDigest'] = (_digest, _entries, digest) => void verified.push(digest);
  await expect(log.verify(chain, { objects: { ...log.objects, get }, onDigest })).rejects.toThrow('S3 is away');
  expect(verified).toEqual([await readVerified(1), await readVerified(2)]);
});

it('digests that have expired are not missed', async () => {
  const later = () => log.ports.now() + KEPT_DAYS * 86_400_000;
  expect(await verifyChanged({ [digestKey(1)]: undefined }, { now: later })).toBeUndefined();
  const none = Object.fromEntries([1, 2, 3, 4].map((sequence) => [digestKey(sequence), undefined]));
  expect(await verifyChanged(none, { now: later })).toBeUndefined();
  expect(await verifyChanged(none)).toMatchObject({ sequence: 1 });
});

describe('while S3 removes expired objects, in no order', () => {
  const DAY_MS = 86_400_000;
  /** Verifies at `now` with the digests and the entries of these sequence numbers removed. */
  async function verifyWithout(
    removed: { readonly digests?: readonly number[]; readonly entries?: readonly number[] },
    now: number,
    more?: Partial<VerifyOptions>,
  ) {
    const entries = await Promise.all(
      (removed.entries ?? []).map(async (each) => (await readDigest(each)).digest.digest.entries.key),
    );
    const keys = [...(removed.digests ?? []).map(digestKey), ...entries];
    return verifyChanged(Object.fromEntries(keys.map((key) => [key, undefined])), { now: () => now, ...more });
  }
  /** Returns when a digest expires. */
  const readExpiry = async (sequence: number) =>
    Date.parse((await readDigest(sequence)).digest.digest.at) + KEPT_DAYS * DAY_MS;

  it('a digest that has expired may be missing between others, and only then', async () => {
    const expiry = await readExpiry(2);
    expect(await verifyWithout({ digests: [2] }, expiry)).toBeUndefined();
    const problem = 'the digest 2 is missing';
    expect(await verifyWithout({ digests: [2] }, expiry - 1)).toEqual({ chain, sequence: 3, problem });
    expect(await verifyWithout({ digests: [2, 3] }, expiry)).toEqual({ chain, sequence: 4, problem });
    expect(await verifyWithout({ digests: [2, 3] }, await readExpiry(3))).toBeUndefined();
  });

  it('the last digests may be missing once the head has expired, and only then', async () => {
    const expiry = await readExpiry(4);
    expect(await verifyWithout({ digests: [3, 4] }, expiry)).toBeUndefined();
    const problem = 'the digest is missing: the head is 4';
    expect(await verifyWithout({ digests: [4] }, expiry - 1)).toEqual({ chain, sequence: 4, problem });
    const head = await log.ports.store.readHead(chain);
    const unsettled = { head: head && { ...head, isSettled: false } };
    expect(await verifyWithout({ digests: [3, 4] }, await readExpiry(3), unsettled)).toBeUndefined();
    expect(await verifyWithout({ digests: [3, 4] }, (await readExpiry(3)) - 1, unsettled)).toMatchObject({ problem });
  });

  it('entries that have expired may be missing before their digest, and only then', async () => {
    const expiry = await readExpiry(2);
    const read: number[] = [];
    const onDigest: VerifyOptions['onDigest'] = (_, entries) => void read.push(entries.length);
    expect(await verifyWithout({ digests: [1], entries: [2] }, expiry, { onDigest })).toBeUndefined();
    expect(read).toEqual([0, 1, 1]);
    expect(await verifyWithout({ entries: [2] }, expiry - 1)).toMatchObject({
      ...{ sequence: 2, problem: expect.stringMatching(/entries are missing/) },
    });
  });

  it('an object that is removed after it was listed is missing as any other', async () => {
    const get = async (key: string) => (key === digestKey(2) ? undefined : log.objects.get(key));
    const objects = { ...log.objects, get };
    const expiry = await readExpiry(2);
    expect(await log.verify(chain, { objects, now: () => expiry })).toBeUndefined();
    expect(await log.verify(chain, { objects, now: () => expiry - 1 })).toMatchObject({ sequence: 3 });
  });

  it('entries without a digest are strays until they have expired', async () => {
    const find = async (now: number) => {
      const finder = await StrayFinder.begin(chain, log.objects, { keptDays: KEPT_DAYS, now: () => now });
      return finder.finish();
    };
    expect(await find(log.ports.now())).toHaveLength(4);
    expect(await find(await readExpiry(4))).toEqual([]);
  });
});

it('entries of the day before their digest expire before it', async () => {
  const own = await world.newLog();
  const midnight = Date.parse('2026-12-01');
  const times = [midnight - 1_000, midnight + 1_000];
  const ports = { ...own.ports, now: () => times.shift() ?? midnight + 2_000 };
  const batch = makeBatch('night', 'stream', [{ requestId: 'night' }]);
  await appendToChain(batch, readEntries(batch).entries, ports);
  const { entries } = (await own.ports.store.readHead(chain))?.digest ?? {};
  expect(entries?.key).toContain('/2026-11-30/');
  const get = async (key: string) => (key === entries?.key ? undefined : own.objects.get(key));
  const verifyAt = (now: number) => own.verify(chain, { objects: { ...own.objects, get }, now: () => now });
  const removed = midnight + KEPT_DAYS * 86_400_000;
  expect(await verifyAt(removed)).toBeUndefined();
  expect(await verifyAt(removed - 1)).toMatchObject({ problem: expect.stringMatching(/entries are missing/) });
});

it('a changed entry, and entries that are missing, are named', async () => {
  const { key } = (await readDigest(2)).digest.digest.entries;
  const text = unpackEntries((await log.objects.get(key)) ?? Buffer.of());
  const changed = packEntries(text.replace('acme', 'evil'));
  expect(await verifyChanged({ [key]: changed })).toMatchObject({
    sequence: 2,
    problem: expect.stringMatching(/entries were changed/),
  });
  expect(await verifyChanged({ [key]: 'x' })).toMatchObject({
    sequence: 2,
    problem: expect.stringMatching(/entries were changed/),
  });
  expect(await verifyChanged({ [key]: undefined })).toMatchObject({
    sequence: 2,
    problem: expect.stringMatching(/entries are missing/),
  });
});

it('a changed digest has no valid signature, and a signature of another key is not valid', async () => {
  const { signed } = await readDigest(3);
  const text = signed.digest.replace('"count":1', '"count":0');
  const unsigned = { ...signed, digest: text };
  const problem = "the signature isn't that of the audit key";
  expect(await verifyChanged({ [digestKey(3)]: JSON.stringify(unsigned) })).toEqual({ chain, sequence: 3, problem });
  const forged = { digest: text, ...(await world.signFalsely(text)) };
  expect(await verifyChanged({ [digestKey(3)]: JSON.stringify(forged) })).toEqual({ chain, sequence: 3, problem });
  expect(await verifyChanged({ [digestKey(3)]: '{' })).toMatchObject({
    sequence: 3,
    problem: expect.stringMatching(/can't be read/),
  });
});

it('a digest that was replaced by another one with a valid signature is named', async () => {
  const { signed } = await readDigest(2);
  expect(await verifyChanged({ [digestKey(3)]: JSON.stringify(signed) })).toMatchObject({
    ...{ sequence: 3, problem: 'the object holds the digest 2' },
  });
  const { digest } = await readDigest(3);
  const other = JSON.stringify({ ...digest.digest, previous: '0'.repeat(64) });
  const resigned = JSON.stringify({ digest: other, ...(await log.ports.sign(other)) });
  expect(await verifyChanged({ [digestKey(3)]: resigned })).toMatchObject({
    sequence: 3,
    problem: expect.stringMatching(/doesn't follow/),
  });
  const { digest: last } = await readDigest(4);
  const otherLast = JSON.stringify({ ...last.digest, at: '2026-01-01T00:00:00.000Z' });
  const resignedLast = JSON.stringify({ digest: otherLast, ...(await log.ports.sign(otherLast)) });
  expect(await verifyChanged({ [digestKey(4)]: resignedLast })).toMatchObject({
    problem: 'the last digest differs from the head',
  });
});

it('a head that is not settled yet needs no object', async () => {
  const head = await log.ports.store.readHead(chain);
  const unsettled = head && { ...head, isSettled: false };
  expect(await verifyChanged({ [digestKey(4)]: undefined }, { head: unsettled })).toBeUndefined();
  const missing = { head: undefined, readHead: async () => undefined };
  expect(await verifyChanged({}, missing)).toMatchObject({ problem: 'the table has no head of the chain' });
});

it('the first digest of a chain may be added after the head was read', async () => {
  expect(await verifyChanged({}, { head: undefined })).toBeUndefined();
});
