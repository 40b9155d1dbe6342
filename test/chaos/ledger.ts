import type { Exchange } from '../../local/faults/proxy.ts';

/** The observed end of a job. */
export interface End {
  /** `deleted` if the job was deleted, whether or not it had ended before. */
  readonly status: string;
  readonly epoch: number;
  readonly errorCode: string | undefined;
  /** The attempt whose output was committed. */
  readonly outputEpoch: string | undefined;
}

/** A claim of a job, by an invocation. */
export interface Claim {
  /** Id of the invocation. */
  readonly invocation: string;
  /** Epoch milliseconds. */
  readonly at: number;
}

/** Token usage of a committed answer. */
export interface CommittedUsage {
  readonly inputTokens: number;
  /** Of `inputTokens`. */
  readonly cachedTokens: number;
  readonly outputTokens: number;
}

/** Everything observed about one job. */
export interface Entry {
  readonly id: string;
  /** Writes that set a terminal status. More than one means that the job was committed twice. */
  ends: number;
  /** Writes that changed an ended job. */
  changedAfterEnd: number;
  end: End | undefined;
  /** Epoch milliseconds. */
  endedAt: number | undefined;
  usage: CommittedUsage | undefined;
  /** Answers committed by another invocation than the last one to claim the job. */
  committedByOthers: number;
  readonly claims: Claim[];
  releases: number;
  /** Holders that were killed. */
  killed: number;
  /** Holders that were stopped for longer than their lease. */
  frozen: number;
  /** Holders that lost the job for another reason: they could not release it, or renewed it too late. */
  abandoned: number;
  /** Id of the invocation that holds the job, if any. */
  holder: string | undefined;
}

/** Records the history of each job from the writes to the jobs' table. It uses none of the service's code. */
export interface Ledger {
  /** Records an exchange between a function and a service. Call it with every exchange. */
  readonly observe: (exchange: Exchange) => void;
  readonly entries: ReadonlyMap<string, Entry>;
  /** Milliseconds from a kill to the claim that took over the job, for each killed holder. */
  readonly recoveriesMs: readonly number[];
  /** Records that the process of an invocation was killed now. */
  noteKill(requestId: string | undefined): void;
  /**
   * Records that the process of an invocation was stopped. Resolves when another invocation claims a job that it held.
   */
  noteFreeze(requestId: string): Promise<void>;
  /** Epoch milliseconds at which the process of an invocation was killed, if it was. */
  killedAt(requestId: string): number | undefined;
  /** Resolves when the job has ended. */
  waitUntilEnded(id: string): Promise<void>;
  /** Number of ended jobs. */
  endedCount(): number;
  /** Number of jobs that have not ended, including those whose caller never got a response. */
  openCount(): number;
  /** Epoch milliseconds of the last write to any job. */
  lastSeenAt(): number;
}

const TERMINAL: ReadonlySet<string> = new Set(['completed', 'failed', 'incomplete', 'cancelled', 'expired']);

type Attribute = { readonly S?: string; readonly N?: string; readonly M?: Readonly<Record<string, Attribute>> };
type Item = Readonly<Record<string, Attribute>>;
interface Write {
  readonly TableName?: string;
  readonly Item?: Item;
  readonly Key?: Item;
  readonly UpdateExpression?: string;
}

/**
 * Creates a ledger of the jobs in a table.
 * @param tableName called at each exchange, because the name is known only when the cloud has started
 */
export function createLedger(tableName: () => string | undefined, now: () => number = Date.now): Ledger {
  const entries = new Map<string, Entry>();
  const waiting = new Map<string, () => void>();
  const recoveriesMs: number[] = [];
  /** Epoch milliseconds by killed invocation. */
  const kills = new Map<string, number>();
  /** Called when another invocation takes over a job, by frozen invocation. */
  const freezes = new Map<string, () => void>();
  let endedCount = 0;
  let lastSeenAt = now();

  function getOrCreateEntry(pk: string): Entry {
    const id = pk.slice(pk.indexOf('#') + 1);
    const known = entries.get(id);
    if (known !== undefined) return known;
    const entry: Entry = {
      id,
      ends: 0,
      changedAfterEnd: 0,
      end: undefined,
      endedAt: undefined,
      usage: undefined,
      committedByOthers: 0,
      claims: [],
      releases: 0,
      killed: 0,
      frozen: 0,
      abandoned: 0,
      holder: undefined,
    };
    entries.set(id, entry);
    return entry;
  }

  /** Records that another invocation claimed a job whose holder had not released it. */
  function noteTakeover(entry: Entry, at: number): void {
    if (entry.holder === undefined) return;
    const kill = kills.get(entry.holder);
    if (kill !== undefined) {
      entry.killed += 1;
      recoveriesMs.push(at - kill);
      return;
    }
    const onTakeover = freezes.get(entry.holder);
    if (onTakeover === undefined) entry.abandoned += 1;
    else {
      entry.frozen += 1;
      onTakeover();
    }
  }

  function applyUpdate(entry: Entry, expression: string, after: Item, by: string, at: number): void {
    const status = after['status']?.S ?? '';
    const sets = /^SET (.*?)(?: REMOVE .*| ADD .*)?$/s.exec(expression)?.[1] ?? '';
    const setsStatus = sets.includes('#status = ');
    const end = readEnd(after);
    if (entry.end !== undefined && !(setsStatus && TERMINAL.has(status))) {
      if (JSON.stringify(end) !== JSON.stringify(entry.end)) entry.changedAfterEnd += 1;
      return;
    }
    if (!setsStatus) return;
    if (status === 'in_progress') {
      noteTakeover(entry, at);
      entry.claims.push({ invocation: by, at });
      entry.holder = by;
    } else if (status === 'queued') {
      // A job whose holder is dead was made to wait again. The next claim takes it over.
      if (expression.includes('#crashes')) return;
      entry.releases += 1;
      entry.holder = undefined;
    } else if (TERMINAL.has(status)) {
      entry.ends += 1;
      if (end.outputEpoch !== undefined && by !== entry.holder) entry.committedByOthers += 1;
      if (entry.end !== undefined) return;
      // The sweep gives up on a job only when its holder is gone: this was its last crash.
      if (status === 'failed' && end.outputEpoch === undefined) noteLastCrash(entry);
      entry.usage = readUsage(after);
      noteEnd(entry, end, at);
    }
  }

  /** Records that a tombstone has replaced the job. Any later change of it is one after its end. */
  function applyDelete(entry: Entry, end: End, at: number): void {
    if (entry.end === undefined) entry.ends += 1;
    noteEnd(entry, end, at);
  }

  function noteEnd(entry: Entry, end: End, at: number): void {
    if (entry.end === undefined) endedCount += 1;
    entry.end = end;
    entry.endedAt ??= at;
    entry.holder = undefined;
    waiting.get(entry.id)?.();
    waiting.delete(entry.id);
  }

  function noteLastCrash(entry: Entry): void {
    if (entry.holder !== undefined && kills.has(entry.holder)) entry.killed += 1;
  }

  return {
    observe({ service, target, requestId, request, status, response }) {
      if (service !== 'dynamodb' || status !== 200) return;
      const operation = target.slice(target.indexOf('.') + 1);
      if (operation !== 'UpdateItem' && operation !== 'PutItem') return;
      const write: Write = JSON.parse(request.toString('utf8'));
      const key = write.Key ?? write.Item;
      const pk = key?.['pk']?.S;
      if (write.TableName !== tableName() || key?.['sk']?.S !== 'job' || pk === undefined) return;
      lastSeenAt = now();
      const entry = getOrCreateEntry(pk);
      if (write.Item?.['deletedAt'] !== undefined) applyDelete(entry, readEnd(write.Item), lastSeenAt);
      if (operation === 'PutItem') return;
      const { Attributes }: { Attributes?: Item } = JSON.parse(response.toString('utf8'));
      if (Attributes !== undefined) applyUpdate(entry, write.UpdateExpression ?? '', Attributes, requestId, lastSeenAt);
    },
    entries,
    recoveriesMs,
    noteKill(requestId) {
      if (requestId !== undefined) kills.set(requestId, now());
    },
    noteFreeze: (requestId) => new Promise((resolve) => freezes.set(requestId, resolve)),
    killedAt: (requestId) => kills.get(requestId),
    waitUntilEnded(id) {
      if (entries.get(id)?.end !== undefined) return Promise.resolve();
      return new Promise((resolve) => waiting.set(id, resolve));
    },
    endedCount: () => endedCount,
    openCount: () => entries.size - endedCount,
    lastSeenAt: () => lastSeenAt,
  };
}

function readEnd(item: Item): End {
  return {
    status: item['deletedAt'] === undefined ? (item['status']?.S ?? '') : 'deleted',
    epoch: Number(item['epoch']?.N ?? 0),
    errorCode: item['errorCode']?.S,
    outputEpoch: item['output']?.M?.['epoch']?.N,
  };
}

function readUsage(item: Item): CommittedUsage | undefined {
  const usage = item['usage']?.M;
  if (usage === undefined) return undefined;
  const readTokens = (name: string) => Number(usage[name]?.N ?? 0);
  return {
    inputTokens: readTokens('inputTokens'),
    cachedTokens: readTokens('cachedInputTokens'),
    outputTokens: readTokens('outputTokens'),
  };
}
