import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkLayers } from '../../../infra/check/check-layers.ts';

/** Files that obey every rule, with imports that point downwards. */
const OBEDIENT = {
  'functions/chat.ts': "import { route } from '../shared/api/route.ts';\nexport const handler = route;\n",
  'shared/api/route.ts': "import type { Job } from '../jobs/job.ts';\nexport const route = (job: Job) => job;\n",
  'shared/jobs/job.ts': "import { now } from '../core/clock.ts';\nexport interface Job { at: typeof now }\n",
  'shared/openai/schema.ts': "import { now } from '../core/clock.ts';\nexport const created = now;\n",
  'shared/access/principal.ts': 'export interface Principal { tenant: string }\n',
  'shared/aws/bucket.ts': "import type { S3Client } from '@aws-sdk/client-s3';\nexport type Client = S3Client;\n",
  'shared/core/clock.ts': 'export const now = 1;\n',
  'local/start.ts': "import { handler } from '../functions/chat.ts';\nexport const start = handler;\n",
};

/** Files that break a rule each. */
const PLANTED = {
  'shared/vault/value.ts': "import { route } from '../api/route.ts';\nexport const used = route;\n",
  'shared/vault/type.ts': "import type { route } from '../api/route.ts';\nexport type Used = typeof route;\n",
  'shared/vault/inline-type.ts': "import { type route } from '../api/route.ts';\nexport type Used = typeof route;\n",
  'shared/vault/type-export.ts': "export type { route } from '../api/route.ts';\n",
  'shared/vault/type-expression.ts': "export type Used = typeof import('../api/route.ts');\n",
  'shared/vault/dynamic.ts': "export const load = () => import('../api/route.ts');\n",
  'shared/vault/circle-a.ts': "import type { B } from './circle-b.ts';\nexport interface A { b: B }\n",
  'shared/vault/circle-b.ts': "import type { A } from './circle-a.ts';\nexport interface B { a: A }\n",
  'local/circle-a.ts': "import { b } from './circle-b.ts';\nexport const a: unknown = b;\n",
  'local/circle-b.ts': "import type { a } from './circle-a.ts';\nexport const b: typeof a = 1;\n",
  'shared/jobs/engine.ts': "import type { created } from '../openai/schema.ts';\nexport type Used = typeof created;\n",
  'shared/openai/user.ts': "import type { Principal } from '../access/principal.ts';\nexport type User = Principal;\n",
  'shared/core/local.ts': "import type { A } from '../../local/types.ts';\nexport type Used = A;\n",
  'local/types.ts': 'export type A = 1;\n',
  'shared/api/client.ts': "import type { S3Client } from '@aws-sdk/client-s3';\nexport type Client = S3Client;\n",
  'shared/api/text.ts': "import { text } from '../utils/text.ts';\nexport const used = text;\n",
  'shared/utils/text.ts': 'export const text = 1;\n',
};

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lambent-layers-'));
});
afterAll(() => rm(root, { recursive: true }));

async function write(files: Readonly<Record<string, string>>): Promise<void> {
  for (const [file, source] of Object.entries(files)) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), source);
  }
}

/** Returns the violations of the tree as `rule: file`. Packages can't be resolved in it, which is a rule of its own. */
async function findViolations(): Promise<{ isClean: boolean; violations: string[] }> {
  const { isClean, text } = await checkLayers(root, ['functions', 'shared', 'local']);
  const found = [...text.matchAll(/^\s*error ([\w-]+: [\w./-]+)/gm)].map(([, violation = '']) => violation);
  return { isClean, violations: found.filter((violation) => !violation.startsWith('unresolvable')) };
}

describe('the layer check', () => {
  let planted: Awaited<ReturnType<typeof findViolations>>;
  beforeAll(async () => {
    await write(OBEDIENT);
    expect((await findViolations()).violations).toEqual([]);
    await write(PLANTED);
    planted = await findViolations();
  });

  it('the layer check fails for a tree that breaks a rule', () => {
    expect(planted.isClean).toBe(false);
  });

  it.each([
    ['an upward import', 'vault-imports-upwards: shared/vault/value.ts'],
    ['an upward import of a type', 'vault-imports-upwards: shared/vault/type.ts'],
    ['an upward import of one type among values', 'vault-imports-upwards: shared/vault/inline-type.ts'],
    ['an upward export of a type', 'vault-imports-upwards: shared/vault/type-export.ts'],
    ['an upward import inside of a type', 'vault-imports-upwards: shared/vault/type-expression.ts'],
    ['an upward dynamic import', 'vault-imports-upwards: shared/vault/dynamic.ts'],
    ['a cycle of type imports', 'circular: shared/vault/circle-a.ts'],
    ['a cycle outside of shared/', 'circular: local/circle-a.ts'],
    ['a job engine that imports a wire format', 'jobs-know-an-api: shared/jobs/engine.ts'],
    ['a wire format that imports a principal', 'wire-format-knows-the-service: shared/openai/user.ts'],
    ['deployed code that imports the local cloud', 'deployed-code-imports-tools: shared/core/local.ts'],
    ['an AWS client outside of the adapters', 'aws-client-outside-adapter: shared/api/client.ts'],
    ['a folder of shared/ that is not a layer', 'unknown-layer: shared/api/text.ts'],
  ])('the layer check finds %s', (_name, violation) => {
    expect(planted.violations).toContain(violation);
  });

  it('the layer check finds nothing else in that tree', () => {
    expect(planted.violations).toHaveLength(13);
  });
});
