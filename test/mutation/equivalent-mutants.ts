/** A mutant that no test can catch: it behaves like the original, or the compiler refuses it. */
export interface EquivalentMutant {
  readonly file: string;
  /** The source line on which the mutant begins, without its indentation. */
  readonly line: string;
  /** What Stryker puts in the place of the mutated expression or statement, on one line. */
  readonly replacement: string;
  readonly reason: string;
}

export const EQUIVALENT_MUTANTS: readonly EquivalentMutant[] = [
  {
    file: 'shared/lambda/message-pool.ts',
    line: '...(served.pending.length > 0 ? [sleep(FIT_MS, NEVER)] : []),',
    replacement: 'true',
    reason: 'The loop also wakes without a reason, and finds nothing to do.',
  },
  {
    file: 'shared/lambda/message-pool.ts',
    line: "pause.abort('finished');",
    replacement: '""',
    reason: 'Nothing reads the reason of this signal.',
  },
  {
    file: 'shared/idempotency/idempotent-call.ts',
    line: 'const recorded = attempt.isRepeated && this.#mayStore ? await this.#findRecorded(attempt.record) : undefined;',
    replacement: 'true',
    reason: 'A new operation, or one whose response must not be stored, has no recorded response to find.',
  },
  {
    file: 'shared/jobs/dynamodb-blobs.ts',
    line: "keepEpoch === undefined ? undefined : objectKey({ tenant, id, part: 'output', epoch: keepEpoch, sequence: 0 });",
    replacement: "{ tenant, id, part: 'output', epoch: keepEpoch }",
    reason: 'The name of an output has no sequence number.',
  },
  {
    file: 'shared/jobs/job-item.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is a line of source.
    line: "`A job's item is not one: ${result.issues.map((issue) => v.getDotPath(issue)).join(', ')}`,",
    replacement: '""',
    reason: 'A text for people.',
  },
  {
    file: 'shared/jobs/completion.ts',
    line: "override readonly name = 'StepFailedError';",
    replacement: '""',
    reason: 'A text for people.',
  },
  {
    file: 'shared/jobs/sweep-run.ts',
    line: 'if (missing > 0) await replaceTickets(queue, missing, ports, replacedUntil);',
    replacement: 'missing >= 0',
    reason: 'Nothing is sent for no missing tickets.',
  },
  {
    file: 'shared/jobs/submit.ts',
    line: "if (created.created) return { kind: 'created', job: created.job };",
    replacement: 'false',
    reason: 'The job is then compared with its own request, and found to be the same.',
  },
  {
    file: 'shared/jobs/pace.ts',
    line: '#permits = { window: 0, count: 0 };',
    replacement: '{}',
    reason: 'No permits of any window are valid at first, as with the window 0.',
  },
  {
    file: 'shared/jobs/pace.ts',
    line: '#permits = { window: 0, count: 0 };',
    replacement: '{ count: 0 }',
    reason: 'No permits of any window are valid at first, as with the window 0.',
  },
  {
    file: 'shared/jobs/pace.ts',
    line: 'const restsLonger = retryAfterMs > 0 && restUntil > this.#restUntil + REST_RECORD_MS;',
    replacement: 'restUntil >= this.#restUntil + REST_RECORD_MS',
    reason: 'Decides a single millisecond of a limit that is a guess.',
  },
  {
    file: 'shared/jobs/pace.ts',
    line: 'const isNew = now - this.#admittedAt >= QUIET_MS;',
    replacement: 'now - this.#admittedAt > QUIET_MS',
    reason: 'Decides a single millisecond of a limit that is a guess.',
  },
  {
    file: 'shared/sessions/conversation-table.ts',
    line: 'for await (const item of queryPositions(key, { from: 0, to, newestFirst: true }, filter)) {',
    replacement: 'false',
    reason: 'At most one item has the id, whatever the order.',
  },
  {
    file: 'shared/sessions/conversation-table.ts',
    line: 'if (itemId?.S !== undefined) found.add(itemId.S);',
    replacement: 'itemId.S',
    reason: "The filter finds only items with an id. The compiler doesn't know.",
  },
  {
    file: 'shared/sessions/conversation-table.ts',
    line: "const filter = { filter: 'turn = :turn', values: marshall({ ':turn': turn }), fields: 'sk' };",
    replacement: "{ filter: 'turn = :turn', values: marshall({ ':turn': turn }) }",
    reason: 'Only reads fields that no code uses.',
  },
  {
    file: 'shared/sessions/conversation-table.ts',
    line: 'const isLarge = sealed.byteLength > ITEM_BYTES;',
    replacement: 'sealed.byteLength >= ITEM_BYTES',
    reason: 'An item of exactly the limit fits into either place.',
  },
  {
    file: 'shared/sessions/conversation-table.ts',
    line: 'deleteItem(table, toTableKey(key, HEAD), {',
    replacement: '{}',
    reason: 'The caller has read the head. Only one that expired since, which no reader sees, is deleted too.',
  },
  {
    file: 'shared/vault/kms-keys.ts',
    line: "const name = cause instanceof Error ? cause.name : 'unknown failure';",
    replacement: '""',
    reason: 'A text for people.',
  },
  {
    file: 'shared/vault/record-stream.ts',
    line: 'if (cipher === undefined && pending.size >= HEADER_BYTES) cipher = await begin(pending.take(HEADER_BYTES));',
    replacement: 'pending.size > HEADER_BYTES',
    reason: 'No stream ends with its header: the bytes that follow begin it as well.',
  },
  {
    file: 'shared/jobs/settings.ts',
    line: 'export const intakeSettings = {',
    replacement:
      '{ ...storeSettings, ...queueSettings, ...lifetimeSettings, GENERATION_QUEUE_URL: v.string(), AWS_LAMBDA_FUNCTION_MEMORY_SIZE }',
    reason: 'The compiler refuses it: the function uses the setting.',
  },
  {
    file: 'shared/vault/record.ts',
    line: "const bytes = data.write(text, start + 4, 'utf8');",
    replacement: '""',
    reason: 'UTF-8 is the default.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: 'return { cap, left: left > 0n ? left : 0n, requested: job.amounts[cap.metric] };',
    replacement: 'left >= 0n',
    reason: 'Both sides are equal then, and lead to the same.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: 'if (left >= amounts[metric]) continue;',
    replacement: 'left > amounts[metric]',
    reason: 'Only asks for a portion that is not needed yet.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: 'if (left >= amounts[metric]) continue;',
    replacement: 'false',
    reason: 'Only asks for a portion that is not needed yet.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: '{ pk: getLedgerPartition(tenant), name: tenant },',
    replacement: '{ name: tenant }',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: "{ pk: ACCOUNT_PK, name: '' },",
    replacement: '{ pk: ACCOUNT_PK }',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: "{ pk: ACCOUNT_PK, name: '' },",
    replacement: '"Stryker was here!"',
    reason: 'Nothing reads the name of a root.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: "return { id: getPoolId(metric), cap: { level, max }, window: 'now', nodes, leafPrefix: LEDGER_PREFIX };",
    replacement: '{ max }',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: "return { id: getPoolId(metric), cap: { level, max }, window: 'now', nodes, leafPrefix: LEDGER_PREFIX };",
    replacement: '""',
    reason: 'No window without a letter ends, either.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: 'const NO_ALERTS = { report: () => {}, isPressed: false };',
    replacement: '{}',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: 'const NO_ALERTS = { report: () => {}, isPressed: false };',
    replacement: '{ isPressed: false }',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: 'const NO_ALERTS = { report: () => {}, isPressed: false };',
    replacement: '{ report: () => {} }',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/job-ledger.ts',
    line: 'const NO_ALERTS = { report: () => {}, isPressed: false };',
    replacement: 'true',
    reason: 'Only matters for alerts.',
  },
  {
    file: 'shared/limits/ledger-cleaning.ts',
    line: "lastPage = '',",
    replacement: '"Stryker was here!"',
    reason: 'All pages are then after or before it, in the same order.',
  },
  {
    file: 'shared/limits/ledger-entry.ts',
    line: 'return BigInt(minute) > before ? value + (BigInt(minute) - before) * MINUTE_UNIT : value;',
    replacement: 'BigInt(minute) >= before',
    reason: 'Both sides are equal then, and lead to the same.',
  },
  {
    file: 'shared/limits/ledger-entry.ts',
    line: '.sort(([a], [b]) => (a < b ? -1 : 1))',
    replacement: 'a <= b',
    reason: 'Names are different.',
  },
  {
    file: 'shared/limits/ledger-entry.ts',
    line: '.sort((a, b) => (a.id < b.id ? -1 : 1));',
    replacement: 'a.id <= b.id',
    reason: 'Ids are different.',
  },
  {
    file: 'shared/limits/leases.ts',
    line: ': await this.#lease(pool, index + 1, lacking - beyond, {',
    replacement: '{ received: counters[own.received] ?? 0n, report }',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/leases.ts',
    line: 'const largest = isSoft(pool.cap) && share > lacking * SOFT_CALLS ? lacking * SOFT_CALLS : share;',
    replacement: 'share >= lacking * SOFT_CALLS',
    reason: 'Both sides are equal then, and lead to the same.',
  },
  {
    file: 'shared/limits/leases.ts',
    line: 'const portion = lacking > largest ? lacking : largest;',
    replacement: 'lacking >= largest',
    reason: 'Both sides are equal then, and lead to the same.',
  },
  {
    file: 'shared/limits/leases.ts',
    line: "const pk = ofChild.nodes[index - 1]?.pk ?? '';",
    replacement: '"Stryker was here!"',
    reason: "A pool has this node. The compiler doesn't know.",
  },
  {
    file: 'shared/limits/leases.ts',
    line: "const pk = ofChild.nodes[index - 1]?.pk ?? '';",
    replacement: 'ofChild.nodes[index - 1].pk',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/leases.ts',
    line: 'if (free < want && index > 1 && tries === 0 && (await this.#reclaim(ofChild, index - 1, want - free, counters))) {',
    replacement: 'true',
    reason: 'The keys have given what they have. Another look finds nothing, and the next waits.',
  },
  {
    file: 'shared/limits/leases.ts',
    line: 'if (free < want && index > 1 && tries === 0 && (await this.#reclaim(ofChild, index - 1, want - free, counters))) {',
    replacement: 'free <= want',
    reason: 'Asks the keys for nothing then.',
  },
  {
    file: 'shared/limits/leases.ts',
    line: 'const back = want > free / 2n ? (want < free ? want : free) : free / 2n || free;',
    replacement: 'want >= free / 2n',
    reason: 'Both sides are equal then, and lead to the same.',
  },
  {
    file: 'shared/limits/leases.ts',
    line: 'const back = want > free / 2n ? (want < free ? want : free) : free / 2n || free;',
    replacement: 'want <= free',
    reason: 'Both sides are equal then, and lead to the same.',
  },
  {
    file: 'shared/limits/leases.ts',
    line: 'if (arrival === undefined || arriving <= 0n) {',
    replacement: 'false',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/leases.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is a line of source.
    line: 'if (child === undefined || parent === undefined) throw new Error(`A pool has no node ${index}`);',
    replacement: 'false',
    reason: "A pool has these nodes. The compiler doesn't know.",
  },
  {
    file: 'shared/limits/leases.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is a line of source.
    line: 'if (child === undefined || parent === undefined) throw new Error(`A pool has no node ${index}`);',
    replacement: 'child === undefined && parent === undefined',
    reason: "A pool has these nodes. The compiler doesn't know.",
  },
  {
    file: 'shared/limits/leases.ts',
    line: 'return value > 0n ? value : 0n;',
    replacement: 'value >= 0n',
    reason: 'Both sides are equal then, and lead to the same.',
  },
  {
    file: 'shared/limits/pools.ts',
    line: "{ pk: '', name: '' },",
    replacement: "{ name: '' }",
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/pools.ts',
    line: "{ pk: '', name: '' },",
    replacement: '{}',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/pools.ts',
    line: "{ pk: '', name: '' },",
    replacement: "{ pk: '' }",
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/limits/pools.ts',
    line: "{ pk: '', name: '' },",
    replacement: '"Stryker was here!"',
    reason: 'Nothing reads the key of a project, which stands for any of them.',
  },
  {
    file: 'shared/limits/pools.ts',
    line: 'export const METRICS: Readonly<Record<Metric, string>> = {',
    replacement: "{ requests: 'r', tokens: 't', spend: 'c', answers: 'f', streams: 's' }",
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/abuse/watch.ts',
    line: 'hold !== undefined && keyId !== undefined && (await ports.holds.place(tenant, keyId, { ...hold, reason: sign }));',
    replacement: 'true',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/abuse/activity-table.ts',
    line: "return items.map((item) => parseItem({ tenant, keyId: undefined, hour: Date.parse(item['sk']?.S ?? '') }, item));",
    replacement: "{ keyId: undefined, hour: Date.parse(item['sk']?.S ?? '') }",
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/access/expiring-keys.ts',
    line: 'if (expiresAt !== null) await deleteItem(table, toItemKey(partition, expiresAt));',
    replacement: 'true',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/access/expiring-keys.ts',
    line: 'for await (const { sk } of queryItems(table, query)) if (sk?.S !== undefined) yield sk.S;',
    replacement: 'true',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/access/expiring-keys.ts',
    line: 'for await (const { sk } of queryItems(table, query)) if (sk?.S !== undefined) yield sk.S;',
    replacement: 'sk.S',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/audit/expiring-key.ts',
    line: "metrics.publish({ KeysExpiring: [1, 'Count'] }, 'stage');",
    replacement: '""',
    reason: 'The compiler refuses it.',
  },
  {
    file: 'shared/audit/sweep-expiring-keys.ts',
    line: 'batch = [];',
    replacement: '["Stryker was here"]',
    reason: 'A key that does not exist is left out.',
  },
];
