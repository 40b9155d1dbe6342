import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../../..');
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

/** Prefixes of IAM's actions that differ from the names of the SDK's packages. */
const PREFIXES: Readonly<Record<string, string>> = {
  'api-gateway': 'apigateway',
  'auto-scaling': 'autoscaling',
  'bedrock-runtime': 'bedrock',
  'cloudwatch-logs': 'logs',
  eventbridge: 'events',
  'secrets-manager': 'secretsmanager',
  'service-quotas': 'servicequotas',
};

/** Actions that differ from the names of their operations. */
const ACTIONS: Readonly<Record<string, string>> = {
  'apigateway:GetAccount': 'apigateway:GET',
  'apigateway:GetDomainName': 'apigateway:GET',
  'bedrock:Converse': 'bedrock:InvokeModel',
  's3:DeleteObjects': 's3:DeleteObject',
  's3:GetBucketEncryption': 's3:GetEncryptionConfiguration',
  's3:GetBucketLifecycleConfiguration': 's3:GetLifecycleConfiguration',
  's3:HeadBucket': 's3:ListBucket',
  's3:HeadObject': 's3:GetObject',
  's3:ListBuckets': 's3:ListAllMyBuckets',
  's3:ListObjectVersions': 's3:ListBucketVersions',
  's3:ListObjectsV2': 's3:ListBucket',
};

/** Returns the actions of the requests in a source: the commands and paginators that it imports from the AWS SDK. */
function listActions(source: string): string[] {
  const imports = source.matchAll(/import \{([^}]+)\} from '@aws-sdk\/client-([\w-]+)'/g);
  return [...imports].flatMap(([, names = '', client = '']) => {
    const operations = names.matchAll(/\b(?:paginate(\w+)|(\w+)Command)\b/g);
    return [...operations].map(([, paginated, sent]) => {
      const action = `${PREFIXES[client] ?? client}:${paginated ?? sent}`;
      return ACTIONS[action] ?? action;
    });
  });
}

it("the deployer's policies allow each request of npm run deploy, doctor and the preflight", () => {
  const sources = globSync('infra/{deploy,operate/{doctor,preflight}}/*.ts', { cwd: ROOT });
  const requests = [...sources, 'infra/operate/doctor.ts', 'infra/operate/preflight.ts'].flatMap((file) =>
    listActions(read(file)),
  );
  expect(requests.length).toBeGreaterThan(40);
  const allowed = globSync('infra/operate/deployer/*.json', { cwd: ROOT })
    .flatMap((file) => JSON.parse(read(file)).Statement)
    .flatMap(({ Action }) => Action as string[])
    .map((action) => new RegExp(`^${action.replaceAll('*', '.*')}$`));
  // STS answers this to everyone.
  const needed = requests.filter((action) => action !== 'sts:GetCallerIdentity');
  expect([...new Set(needed)].filter((action) => !allowed.some((pattern) => pattern.test(action)))).toEqual([]);
});
