import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto';
import type { RecordName } from '../shared/vault/vault.ts';
import { computeMedian, interleave } from '../test/measure/statistics.ts';
import { type Budget, type Chart, formatNumber, type Report, type Table } from './report/report.ts';
import { ENCRYPTION_SDK_VERSION, loadEncryptionSdk } from './targets/encryption-sdk.ts';
import { startVault } from './targets/vault.ts';

export interface SealOptions {
  /** Number of measurements per target, interleaved. */
  readonly rounds: number;
  /** Milliseconds per measurement. */
  readonly durationMs: number;
}

interface Target {
  readonly label: string;
  /** Seals and opens the plaintext `count` times. */
  run(plaintext: Uint8Array, count: number): Promise<void>;
}

interface Result {
  readonly target: string;
  /** Microseconds to seal and open a record, the median of all rounds. */
  readonly us: number;
  /** Rate divided by that of raw AES-256-GCM in the same round, the median of all rounds. */
  readonly ofRaw: number;
}

type Measured = readonly { readonly size: number; readonly results: readonly Result[] }[];

const KB = 1_024;
const SIZES = [1 * KB, 4 * KB, 64 * KB];
/** The record size of the budget. */
const BUDGET_SIZE = 4 * KB;
/** Budget: the time is at most this multiple of raw AES-256-GCM's, which is half its rate. */
const LIMIT = 2;

const CIPHER = 'cipher calls alone';
const RAW = 'raw AES-256-GCM';
const VAULT = 'Lambent’s vault';
const SDK = 'AWS Encryption SDK';

const NAME: RecordName = { tenant: 'acme', kind: 'job-output', id: `resp_${'0'.repeat(32)}`, epoch: 1, field: '' };

/** Measures how fast records are sealed and opened with keys in memory. */
export async function benchSeal({ rounds, durationMs }: SealOptions): Promise<Report> {
  await using benchVault = await startVault();
  const sealAndOpen = await loadEncryptionSdk();
  const targets: Target[] = [
    { label: CIPHER, run: async (plaintext, count) => repeat(count, () => runCipher(plaintext)) },
    { label: RAW, run: async (plaintext, count) => repeat(count, () => sealRawRecord(plaintext)) },
    {
      label: VAULT,
      async run(plaintext, count) {
        for (let done = 0; done < count; done++) {
          await benchVault.vault.open(NAME, await benchVault.vault.seal(NAME, plaintext));
        }
      },
    },
    {
      label: SDK,
      async run(plaintext, count) {
        for (let done = 0; done < count; done++) await sealAndOpen(plaintext);
      },
    },
  ];
  const measured = [];
  for (const size of SIZES) {
    const plaintext = randomBytes(size);
    await warmUp(targets, plaintext, durationMs);
    const all = await interleave(targets, rounds, (target) => measure(target, plaintext, durationMs));
    measured.push({ size, results: compare(all) });
  }
  return toReport(measured, benchVault.kmsCalls(), { rounds, durationMs });
}

const KEY = createSecretKey(randomBytes(32));
const NONCE = randomBytes(12);
/** As long as a record's associated data. */
const ASSOCIATED_DATA = randomBytes(149);

/** Seals and opens with the minimum of cipher calls. Insecure, because the nonce is fixed. */
function runCipher(plaintext: Uint8Array): Uint8Array {
  const cipher = createCipheriv('aes-256-gcm', KEY, NONCE);
  cipher.setAAD(ASSOCIATED_DATA);
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  const tag = cipher.getAuthTag();
  return decipher(NONCE, ciphertext, tag);
}

/** Seals and opens the simplest record: one key, a random nonce, and nonce, ciphertext and tag in one buffer. */
function sealRawRecord(plaintext: Uint8Array): Uint8Array {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', KEY, nonce);
  cipher.setAAD(ASSOCIATED_DATA);
  const record = Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  return decipher(record.subarray(0, 12), record.subarray(12, -16), record.subarray(-16));
}

function decipher(nonce: Uint8Array, ciphertext: Uint8Array, tag: Uint8Array): Uint8Array {
  const opening = createDecipheriv('aes-256-gcm', KEY, nonce, { authTagLength: 16 });
  opening.setAAD(ASSOCIATED_DATA);
  opening.setAuthTag(tag);
  const plaintext = opening.update(ciphertext);
  opening.final();
  return plaintext;
}

function repeat(count: number, work: () => unknown): void {
  for (let done = 0; done < count; done++) work();
}

async function warmUp(targets: readonly Target[], plaintext: Uint8Array, durationMs: number): Promise<void> {
  for (const target of targets) await measure(target, plaintext, durationMs);
}

/** Returns the microseconds to seal and open one record. */
async function measure({ run }: Target, plaintext: Uint8Array, durationMs: number): Promise<number> {
  const BATCH = 50;
  const start = performance.now();
  let [count, elapsedMs] = [0, 0];
  while (elapsedMs < durationMs) {
    await run(plaintext, BATCH);
    count += BATCH;
    elapsedMs = performance.now() - start;
  }
  return (elapsedMs * 1_000) / count;
}

function compare(all: Map<Target, number[]>): Result[] {
  const raw = [...all].find(([{ label }]) => label === RAW)?.[1] ?? [];
  return [...all].map(([{ label }, rounds]) => ({
    target: label,
    us: computeMedian(rounds),
    ofRaw: computeMedian(rounds.map((us, index) => (raw[index] ?? Number.NaN) / us)),
  }));
}

function toReport(measured: Measured, kmsCalls: number, { rounds, durationMs }: SealOptions): Report {
  return {
    name: 'seal',
    title: 'Sealing: the cost of sealing and opening a record',
    method: [
      'One process seals a record and opens it again, repeatedly, with keys in memory. A rate is divided by that of raw AES-256-GCM in the same round.',
      `“${CIPHER}” is the floor: Node’s cipher and decipher with one key object, a fixed nonce, and nothing stored. “${RAW}” is the simplest record that is safe to store for a while: one key, a random nonce, everything in one buffer. “${VAULT}” does everything: a key per record, derived with HKDF-SHA256 from a random salt, a key commitment, and the record’s name bound to the ciphertext.`,
      `“${SDK}” is \`@aws-crypto/client-node\` ${ENCRYPTION_SDK_VERSION} with its caching materials manager over a raw AES keyring, so that it never leaves the process. It uses key commitment, no signature per message, and frames of 64 KB. All records have the same encryption context: binding a record’s id would put the id into the context, and each new context misses the cache.`,
      `The vault called KMS ${kmsCalls} time${kmsCalls === 1 ? '' : 's'} in this run.`,
    ],
    tables: measured.map((entry) => toTable(entry, rounds, durationMs)),
    budgets: measured.filter(({ size }) => size === BUDGET_SIZE).map(toBudget),
    charts: [toChart(measured)],
    data: measured,
  };
}

const formatSize = (bytes: number) => `${bytes / KB} KB`;

function toTable({ size, results }: Measured[number], rounds: number, durationMs: number): Table {
  return {
    caption: `${formatSize(size)}: median of ${rounds} interleaved rounds of ${durationMs / 1_000} s`,
    columns: ['target', 'µs to seal and open', 'records/s', 'rate ÷ raw'],
    rows: results.map(({ target, us, ofRaw }) => [
      target,
      formatNumber(us),
      formatNumber(1e6 / us),
      formatNumber(ofRaw),
    ]),
  };
}

function toBudget({ size, results }: Measured[number]): Budget {
  const toFigure = (label: string) => ({ label, value: find(results, label).us, unit: 'µs' });
  return {
    metric: `seal and open ${formatSize(size)}`,
    measured: toFigure(VAULT),
    against: toFigure(RAW),
    limit: LIMIT,
  };
}

function toChart(measured: Measured): Chart {
  return {
    title: 'Time to seal and open a record',
    unit: 'µs',
    groups: measured.map(({ size, results }) => ({
      label: formatSize(size),
      bars: results.map(({ target, us }) => ({ label: target, value: us })),
    })),
  };
}

function find(results: readonly Result[], label: string): Result {
  const result = results.find(({ target }) => target === label);
  if (result === undefined) throw new Error(`${label} was not measured`);
  return result;
}
