import type { TableState, TurnCheck } from './final-state.ts';
import { hasKey, type JobKind } from './kinds.ts';
import type { Ledger } from './ledger.ts';
import type { Produced } from './producers.ts';
import type { Questions } from './questions.ts';
import type { UpstreamCalls } from './upstream.ts';

/** Everything observed about what happens to jobs besides being answered. */
export interface KindEvidence {
  readonly questions: Pick<Questions, 'kind'>;
  readonly turns: TurnCheck;
  /** Bodies of the messages in the dead-letter queues. */
  readonly deadLetters: ReadonlySet<string>;
  /** Epoch milliseconds of restarts of SQS, which lose its messages. */
  readonly restarts: readonly number[];
}

/** The conclusions about what happened to jobs besides being answered. */
export interface KindFindings {
  /** Requests and messages that were repeated although they had succeeded, and those that returned another id. */
  readonly repetitions: { readonly count: number; readonly otherIds: number };
  /** Jobs with an idempotency key whose model began more answers than they had claims: another job did their work. */
  readonly workedTwice: number;
  readonly turns: TurnCheck;
  /** Cancelled jobs, and those that did not end as their cancellation said. */
  readonly cancelled: { readonly jobs: number; readonly wrong: number };
  /** Deleted jobs, those that are in the table nevertheless, and items and objects that remain of deleted ones. */
  readonly deleted: { readonly jobs: number; readonly wrong: number; readonly leftovers: number };
  /** Jobs that crash their process, and those that did not fail. */
  readonly crashing: { readonly jobs: number; readonly wrong: number };
  /** Messages that can't become jobs, those that are in no dead-letter queue, and other messages that are. */
  readonly poison: { readonly messages: number; readonly missing: number; readonly others: number };
}

type Evidence = KindEvidence & {
  readonly produced: Produced;
  readonly ledger: Pick<Ledger, 'entries'>;
  readonly table: TableState;
  /** Absent if GPU workers ran the jobs: an attempt may ask several workers. */
  readonly upstream: Pick<UpstreamCalls, 'countStreams'> | undefined;
};

export function judgeKinds(evidence: Evidence): KindFindings {
  const { produced, ledger, table, upstream, questions, turns, deadLetters, restarts } = evidence;
  const accepted = [...produced.accepted];
  const idsOf = (kind: JobKind) => accepted.filter(([, job]) => questions.kind(job) === kind).map(([id]) => id);
  const countOtherwise = (ids: readonly string[], isRight: (status: string | undefined, id: string) => boolean) => ({
    jobs: ids.length,
    wrong: ids.filter((id) => !isRight(table.statuses.get(id), id)).length,
  });
  const countClaims = (id: string) => ledger.entries.get(id)?.claims.length ?? 0;
  const countStarted = (job: number) => upstream?.countStreams(job).started ?? 0;
  return {
    repetitions: { count: produced.repetitions, otherIds: produced.otherIds },
    workedTwice: accepted.filter(([id, job]) => hasKey(job, questions.kind(job)) && countStarted(job) > countClaims(id))
      .length,
    turns,
    cancelled: countOtherwise(idsOf('cancelled'), (status, id) => status === produced.cancelled.get(id)),
    deleted: {
      ...countOtherwise(idsOf('deleted'), (status) => status === 'deleted'),
      leftovers: table.leftovers,
    },
    crashing: countOtherwise(idsOf('crashing'), (status) => status === 'failed'),
    poison: {
      messages: produced.poison.size,
      missing: findMissingPoison(produced, deadLetters, restarts).length,
      others: [...deadLetters].filter((body) => !produced.poison.has(body)).length,
    },
  };
}

/** Returns the poison messages that are in no dead-letter queue and that no restart of SQS can have lost. */
export function findMissingPoison(
  { poison }: Pick<Produced, 'poison'>,
  deadLetters: ReadonlySet<string>,
  restarts: readonly number[],
): string[] {
  const lastRestart = Math.max(0, ...restarts);
  return [...poison].filter(([body, sentAt]) => !deadLetters.has(body) && sentAt > lastRestart).map(([body]) => body);
}

/** Counts what must not have happened. */
export function countKindViolations(findings: KindFindings): number {
  const { repetitions, workedTwice, turns, cancelled, deleted, crashing, poison } = findings;
  const wrong = turns.wrong + cancelled.wrong + deleted.wrong + deleted.leftovers + crashing.wrong;
  return repetitions.otherIds + workedTwice + wrong + poison.missing + poison.others;
}

/** Formats the findings as lines of text. */
export function describeKinds(findings: KindFindings): [string, string | number][] {
  const { repetitions, workedTwice, turns, cancelled, deleted, crashing, poison } = findings;
  return [
    ['repeated requests', `${repetitions.count}, ${repetitions.otherIds} with another id`],
    ['work done by a second job', workedTwice],
    ['turns of conversations', `${turns.turns}, ${turns.wrong} wrong`],
    ['cancelled', `${cancelled.jobs}, ${cancelled.wrong} ended otherwise`],
    ['deleted', `${deleted.jobs}, ${deleted.wrong} still there, ${deleted.leftovers} bodies left`],
    ['jobs that crash', `${crashing.jobs}, ${crashing.wrong} not failed`],
    ['poison messages', `${poison.messages}, ${poison.missing} not in a dead-letter queue`],
    ['other dead letters', poison.others],
  ];
}
