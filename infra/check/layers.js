/**
 * The import rules, for dependency-cruiser. Type imports count like any other.
 * `docs/architecture.md` explains the layers; `npm run check` runs the rules, by `check-layers.ts`.
 */

/** The folders of `shared/`, from the top down. A folder may import itself and the folders below it. */
const LAYERS = [
  'admin',
  'api',
  'idempotency',
  'jobs',
  'sessions',
  'openai',
  'anthropic',
  'wire',
  'safety',
  'limits',
  'abuse',
  'usage',
  'inference',
  'gpu',
  'audit',
  'access',
  'vault',
  'lambda',
  'aws',
  'core',
];

/** The files that use AWS SDK clients, besides `shared/aws/`: each implements a port for the code around it. */
const AWS_ADAPTERS = [
  'access/(key-table|policy-administration|policy-table|sender-table)',
  'audit/kms-signer',
  'core/secrets',
  'gpu/registry/dynamodb-fleet',
  'gpu/upkeep/(ecs-api|event-source-mapping)',
  'idempotency/idempotency-records',
  'inference/providers/bedrock/[^/]+',
  'jobs/(dynamodb-(blobs|pace|samples|store)|job-list|ticket-queue)',
  'lambda/(queue-control|warm-event-sender)',
  'limits/dynamodb-counters',
  'safety/guardrail/bedrock-guardrail',
  'sessions/conversation-table',
  'vault/(key-table|kms-keys|tombstones)',
];

/** Matches the files in some of the folders of `shared/`. */
const inShared = (folders) => `^shared/(?:${folders.join('|')})/`;

/** Forbids imports from the files that `from` matches to those that `to` matches. */
const forbid = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to });

const upwards = LAYERS.slice(1).map((layer, index) =>
  forbid(
    `${layer}-imports-upwards`,
    `shared/${layer}/ may import only the layers below it.`,
    { path: inShared([layer]) },
    { path: inShared(LAYERS.slice(0, index + 1)) },
  ),
);

export default {
  forbidden: [
    forbid('circular', 'Modules that import each other can only be understood together.', {}, { circular: true }),
    ...upwards,
    forbid(
      'unknown-layer',
      'Every folder of shared/ must be in the list of layers.',
      {},
      { path: '^shared/', pathNot: inShared(LAYERS) },
    ),
    forbid(
      'jobs-know-an-api',
      'The job engine knows no API: the code that answers a job is passed to it.',
      { path: inShared(['jobs']) },
      { path: inShared(['openai', 'anthropic', 'wire', 'lambda']) },
    ),
    forbid(
      'wire-format-knows-the-service',
      'These folders are wire formats: they know neither callers nor AWS.',
      { path: inShared(['openai', 'anthropic', 'wire']) },
      { path: inShared(['access', 'vault', 'lambda', 'aws', 'gpu']) },
    ),
    forbid(
      'wire-formats-know-each-other',
      'Two wire formats share only what is in shared/wire/.',
      { path: inShared(['openai']) },
      { path: inShared(['anthropic']) },
    ),
    forbid(
      'aws-client-outside-adapter',
      'Only adapters use the AWS SDK. All other code takes ports; the type of an item is in shared/aws/attributes.ts.',
      { path: '^(functions|shared)/', pathNot: `^shared/(?:aws/|(?:${AWS_ADAPTERS.join('|')})[.]ts$)` },
      { path: '(^|/)@(aws-sdk|smithy)/' },
    ),
    forbid(
      'function-imports-function',
      'A function composes parts of shared/. No deployed code imports a function.',
      { path: '^(functions|shared)/' },
      { path: '^functions/' },
    ),
    forbid(
      'deployed-code-imports-tools',
      'functions/ and shared/ are deployed; infra/, local/, test/ and bench/ are not.',
      { path: '^(functions|shared)/' },
      { path: '^(infra|local|test|bench)/' },
    ),
    forbid(
      'infra-imports-tools',
      'infra/ packages and checks the service without the local cloud, tests and benchmarks.',
      { path: '^infra/' },
      { path: '^(local|test|bench)/' },
    ),
    forbid(
      'local-imports-tests',
      'The local cloud runs without tests.',
      { path: '^local/' },
      { path: '^(test|bench)/' },
    ),
    forbid(
      'tests-import-benchmarks',
      'Only the tests of benchmarks may import benchmarks.',
      { path: '^test/', pathNot: '^test/bench/' },
      { path: '^bench/' },
    ),
    forbid(
      'benchmarks-import-tests',
      'Benchmarks may import only these tools of the tests.',
      { path: '^bench/' },
      { path: '^test/', pathNot: '^test/((measure|chaos|simulation|upstreams)/|shared/jobs/jobs[.]ts$)' },
    ),
    forbid(
      'unresolvable',
      'The other rules do not apply to an import that the checker cannot resolve.',
      // Only `npm run clients` and `npm run aws` install the packages of these folders.
      { path: '^(functions|shared|infra|local|test|bench)/', pathNot: '^test/(clients|aws/runtime)/' },
      { couldNotResolve: true },
    ),
  ],
  options: {
    // Reads the sources before TypeScript removes type imports.
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    // Python's packages contain JavaScript, too.
    exclude: { path: '/[.]build/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.d.ts', '.json'],
    },
  },
};
