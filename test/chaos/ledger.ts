import type { Exchange } from '../../local/faults/proxy.ts';

/** How a job was seen to end. */
export interface End {
  readonly status: string;
  readonly epoch: number;
  readonly errorCode: string | undefined;
  /** The attempt whose output was committed. */
  readonly outputEpoch: string | undefined;
}

/** A claim of a job, by an invocation. */
export interface Claim {
  /** Id of the invocation. */
  readonly by: string;
  /** Epoch milliseconds. */
  readonly at: number;
}

/** Tokens of an answer that was committed. */
export interface CommittedUsage {
  readonly inputTokens: number;
  /** Of `inputTokens`. */
  readonly cachedTokens: number;
  readonly outputTokens: number;
}

/** What was seen of one job. */
export interface Entry {
  readonly id: string;
  /** Writes that set a terminal status: more than one is a job that was committed twice. */
  ends: number;
  /** Writes after which an ended job was another than before. */
  changedAfterEnd: number;
  end: End | undefined;
  /** Epoch milliseconds. */
  endedAt: number | undefined;
  usage: CommittedUsage | undefined;
  /** Answers that were committed by another invocation than the one that claimed the job last. */
  committedByOthers: number;
  readonly claims: Claim[];
  releases: number;
  /** Holders that were killed, and that were frozen for longer than their lease. */
  killed: number;
  frozen: number;
  /** Holders that went away by themselves: they could not let go of their job, or were late. */
  abandoned: number;
  /** Id of the invocation that holds the job; undefined while none does. */
  holder: string | undefined;
}

/** A record of what became of each job, kept from the table's own writes: none of the service's code takes part in it. */
export interface Ledger {
  /** To be called with every exchange with a service. */
  readonly see: (exchange: Exchange) => void;
  readonly entries: ReadonlyMap<string, Entry>;
  /** Milliseconds from a kill to the claim that took the job over, one for each holder that was killed. */
  readonly recoveriesMs: readonly number[];
  /** Notes that the process of an invocation was killed now. */
  killed(requestId: string | undefined): void;
  /** Notes that it was stopped for a while. Resolves when another has claimed a job that it held. */
  frozen(requestId: string): Promise<void>;
  /** Epoch milliseconds at which the process of an invocation was killed; undefined when it was not. */
  killedAt(requestId: string): number | undefined;
  /** Resolves when the job has ended. */
  ended(id: string): Promise<void>;
  /** Jobs that have ended. */
  endedCount(): number;
  /** Jobs that have not, those included of which their caller never heard. */
  openCount(): number;
  /** Epoch milliseconds of the last thing seen of any job. */
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
 * Starts a ledger of the jobs in a table.
 * @param tableName asked at each exchange, since it is known only when the cloud has started
 */
export function createLedger(tableName: () => string | undefined, now: () => number = Date.now): Ledger {
  const entries = new Map<string, Entry>();
  const waiting = new Map<string, () => void>();
  const recoveriesMs: number[] = [];
  /** Epoch milliseconds by the invocation that was killed. */
  const kills = new Map<string, number>();
  /** What to do when a job passes on from an invocation that was frozen. */
  const freezes = new Map<string, () => void>();
  let endedCount = 0;
  let lastSeenAt = now();

  function entryOf(pk: string): Entry {
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

  /** A job passed from a holder that did not let go of it. */
  function passedOn(entry: Entry, at: number): void {
    if (entry.holder === undefined) return;
    const kill = kills.get(entry.holder);
    if (kill !== undefined) {
      entry.killed += 1;
      recoveriesMs.push(at - kill);
      return;
    }
    const passed = freezes.get(entry.holder);
    if (passed === undefined) entry.abandoned += 1;
    else {
      entry.frozen += 1;
      passed();
    }
  }

  function updated(entry: Entry, expression: string, after: Item, by: string, at: number): void {
    const status = after['status']?.S ?? '';
    const sets = /^SET (.*?)(?: REMOVE .*| ADD .*)?$/s.exec(expression)?.[1] ?? '';
    const setsStatus = sets.includes('#status = ');
    const end = endOf(after, status);
    if (entry.end !== undefined && !(setsStatus && TERMINAL.has(status))) {
      if (JSON.stringify(end) !== JSON.stringify(entry.end)) entry.changedAfterEnd += 1;
      return;
    }
    if (!setsStatus) return;
    if (status === 'in_progress') {
      passedOn(entry, at);
      entry.claims.push({ by, at });
      entry.holder = by;
    } else if (status === 'queued') {
      entry.releases += 1;
      entry.holder = undefined;
    } else if (TERMINAL.has(status)) {
      entry.ends += 1;
      if (end.outputEpoch !== undefined && by !== entry.holder) entry.committedByOthers += 1;
      if (entry.end !== undefined) return;
      // Who gives up on a job is not its holder, who is gone: a crash without a successor.
      if (status === 'failed' && end.outputEpoch === undefined) noteLastCrash(entry);
      entry.end = end;
      entry.endedAt = at;
      entry.usage = usageOf(after);
      entry.holder = undefined;
      endedCount += 1;
      waiting.get(entry.id)?.();
      waiting.delete(entry.id);
    }
  }

  function noteLastCrash(entry: Entry): void {
    if (entry.holder !== undefined && kills.has(entry.holder)) entry.killed += 1;
  }

  return {
    see({ service, target, requestId, request, status, answer }) {
      if (service !== 'dynamodb' || status !== 200) return;
      const operation = target.slice(target.indexOf('.') + 1);
      if (operation !== 'UpdateItem' && operation !== 'PutItem') return;
      const write: Write = JSON.parse(request.toString('utf8'));
      const key = write.Key ?? write.Item;
      const pk = key?.['pk']?.S;
      if (write.TableName !== tableName() || key?.['sk']?.S !== 'job' || pk === undefined) return;
      lastSeenAt = now();
      const entry = entryOf(pk);
      if (operation === 'PutItem') return;
      const { Attributes }: { Attributes?: Item } = JSON.parse(answer.toString('utf8'));
      if (Attributes !== undefined) updated(entry, write.UpdateExpression ?? '', Attributes, requestId, lastSeenAt);
    },
    entries,
    recoveriesMs,
    killed(requestId) {
      if (requestId !== undefined) kills.set(requestId, now());
    },
    frozen: (requestId) => new Promise((resolve) => freezes.set(requestId, resolve)),
    killedAt: (requestId) => kills.get(requestId),
    ended(id) {
      if (entries.get(id)?.end !== undefined) return Promise.resolve();
      return new Promise((resolve) => waiting.set(id, resolve));
    },
    endedCount: () => endedCount,
    openCount: () => entries.size - endedCount,
    lastSeenAt: () => lastSeenAt,
  };
}

function endOf(item: Item, status: string): End {
  return {
    status,
    epoch: Number(item['epoch']?.N ?? 0),
    errorCode: item['errorCode']?.S,
    outputEpoch: item['output']?.M?.['epoch']?.N,
  };
}

function usageOf(item: Item): CommittedUsage | undefined {
  const usage = item['usage']?.M;
  if (usage === undefined) return undefined;
  const tokens = (name: string) => Number(usage[name]?.N ?? 0);
  return {
    inputTokens: tokens('inputTokens'),
    cachedTokens: tokens('cachedInputTokens'),
    outputTokens: tokens('outputTokens'),
  };
}
