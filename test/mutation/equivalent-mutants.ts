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
];
