/** A part of the source with the tests that must catch its mutants. */
export interface Suite {
  readonly name: string;
  /** Glob patterns of source files, relative to the repository's root. */
  readonly sources: readonly string[];
  /** Glob patterns of test files. Only fast tests: no processes, no end-to-end tests, no model check. */
  readonly tests: readonly string[];
}

export const SUITES: readonly Suite[] = [
  {
    name: 'jobs',
    sources: ['shared/jobs/*.ts'],
    tests: ['test/shared/jobs/!(model-check).test.ts', 'test/shared/api/*.test.ts'],
  },
  {
    name: 'message-pool',
    sources: ['shared/lambda/message-pool.ts', 'shared/lambda/queue-control.ts', 'shared/lambda/queue-pipeline.ts'],
    tests: ['test/shared/lambda/*.test.ts'],
  },
  {
    name: 'idempotency',
    sources: ['shared/idempotency/*.ts'],
    tests: ['test/shared/idempotency/*.test.ts'],
  },
  {
    name: 'sessions',
    sources: ['shared/sessions/*.ts'],
    tests: ['test/shared/sessions/*.test.ts', 'test/shared/api/*.test.ts'],
  },
  {
    name: 'vault',
    sources: ['shared/vault/*.ts'],
    tests: ['test/shared/vault/!(races).test.ts'],
  },
  {
    name: 'limits',
    sources: ['shared/limits/*.ts'],
    tests: ['test/shared/limits/!(dynamodb-counters|job-ledger-table|*.property).test.ts'],
  },
  {
    name: 'abuse',
    sources: ['shared/abuse/*.ts'],
    tests: ['test/shared/abuse/*.test.ts'],
  },
  {
    name: 'expiring-keys',
    sources: [
      'shared/access/expiring-keys.ts',
      'shared/access/expiry-warning.ts',
      'shared/audit/expiring-key.ts',
      'shared/audit/sweep-expiring-keys.ts',
    ],
    tests: ['test/shared/audit/*expiring-key*.test.ts'],
  },
];
