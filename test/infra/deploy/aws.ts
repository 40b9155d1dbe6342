import type { CommandContext } from '../../../infra/deploy/context.ts';
import { DATA_IDS } from '../../../infra/deploy/data.ts';
import type { Answer, Operations, Parameters } from '../operate/aws-stand-in.ts';

export const ACCOUNT = '123456789012';
export const STACK_ID = `arn:aws:cloudformation:eu-west-1:${ACCOUNT}:stack/lambent-dev/1`;
const KEY_ARN = `arn:aws:kms:eu-west-1:${ACCOUNT}:key/`;

/** The physical ids of a stage's data. */
export const DATA: Readonly<Record<string, string>> = {
  ...{
    AccessTable: 'lambent-dev-access',
    AdminTable: 'lambent-dev-admin',
    KeysTable: 'lambent-dev-keys',
    JobsTable: 'lambent-dev-jobs',
  },
  ...{
    SessionsTable: 'lambent-dev-sessions',
    LimitsTable: 'lambent-dev-limits',
    FleetTable: 'lambent-dev-fleet',
    UsageTable: 'lambent-dev-usage',
  },
  ...{ Bucket: 'lambent-dev-bucket-1', AuditBucket: 'lambent-dev-auditbucket-1' },
  ...{ DataKey: 'data-key', VaultKey: 'vault-key', AuditKey: 'audit-key' },
};

const BUCKETS = ['Bucket', 'AuditBucket'];
const DESCRIPTIONS: Readonly<Record<string, string>> = {
  'vault-key': "Wraps the tenants' keys of lambent-dev",
  'audit-key': 'Signs the audit log of lambent-dev',
};

/** Answers STS as AWS does to valid credentials. */
export const CALLER: Operations = {
  GetCallerIdentity: () => ({
    body: `<Account>${ACCOUNT}</Account><Arn>arn:aws:iam::${ACCOUNT}:user/operator</Arn>`,
  }),
};

/** Answers about a stack. `status` is undefined if the stack doesn't exist. */
export function describeStack(status: string | undefined, more = ''): Answer {
  if (status === undefined) return { error: 'ValidationError', message: 'Stack with id lambent-dev does not exist' };
  const id = `<StackId>${STACK_ID}</StackId><StackName>lambent-dev</StackName>`;
  return { body: `<Stacks><member>${id}<StackStatus>${status}</StackStatus>${more}</member></Stacks>` };
}

/** Lists the resources of a stack. */
export function listResources(resources: Readonly<Record<string, string>>): Answer {
  const members = Object.entries(resources).map(
    ([id, physicalId]) =>
      `<member><LogicalResourceId>${id}</LogicalResourceId><PhysicalResourceId>${physicalId}</PhysicalResourceId><ResourceStatus>UPDATE_COMPLETE</ResourceStatus></member>`,
  );
  return { body: `<StackResourceSummaries>${members.join('')}</StackResourceSummaries>` };
}

/** Returns the context of a command that uses `clientConfig`, and collects what it prints. */
export function createContext(
  clientConfig: CommandContext['clientConfig'],
  stagesFile: string,
): CommandContext & { readonly lines: string[] } {
  const lines: string[] = [];
  return {
    ...{ clientConfig, stagesFile, lines, pollMs: 1 },
    print: (line) => void lines.push(line),
    ask: async () => undefined,
    request: async () => Response.json({ error: { message: 'no key', code: 'invalid_api_key' } }, { status: 401 }),
  };
}

/** The data of a stage whose stack was removed, in stand-ins for DynamoDB, S3 and KMS. */
export class KeptData {
  /** Logical ids of what wasn't deleted yet. */
  readonly remaining = new Set(DATA_IDS);
  /** Requests that change something, in order. */
  readonly changes: string[] = [];
  /** The number of deletions that succeed before one fails. */
  failAfter = Number.POSITIVE_INFINITY;

  get operations(): Operations {
    const read = (answer: (parameters: Parameters) => Answer) => answer;
    return {
      DescribeTable: read(({ TableName }) => {
        const id = this.#find(String(TableName));
        if (id === undefined) return { error: 'ResourceNotFoundException' };
        const Table = { TableStatus: 'ACTIVE', SSEDescription: { KMSMasterKeyArn: `${KEY_ARN}data-key` } };
        return { body: { Table } };
      }),
      DeleteTable: ({ TableName }) => this.#delete(this.#find(String(TableName)) ?? ''),
      'GET /': () => ({
        xml: `<ListAllMyBucketsResult><Buckets>${this.#listBuckets()}</Buckets></ListAllMyBucketsResult>`,
      }),
      ...this.#createBucket('Bucket'),
      ...this.#createBucket('AuditBucket'),
      ListKeys: () => ({
        body: {
          Keys: [{ KeyId: 'foreign-key' }, { KeyId: 'data-key' }, { KeyId: 'vault-key' }, { KeyId: 'audit-key' }],
        },
      }),
      DescribeKey: ({ KeyId }) => this.#describeKey(String(KeyId)),
      ScheduleKeyDeletion: ({ KeyId }) => this.#delete(this.#find(String(KeyId)) ?? ''),
    };
  }

  #listBuckets(): string {
    const ids = BUCKETS.filter((id) => this.remaining.has(id));
    return ids.map((id) => `<Bucket><Name>${DATA[id]}</Name></Bucket>`).join('');
  }

  #createBucket(id: string): Operations {
    const encryption = `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><KMSMasterKeyID>${KEY_ARN}data-key</KMSMasterKeyID></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`;
    return {
      [`GET /${DATA[id]}/`]: (parameters) => ({
        xml: 'encryption' in parameters ? encryption : '<ListVersionsResult></ListVersionsResult>',
      }),
      [`HEAD /${DATA[id]}/`]: () => ({ status: this.remaining.has(id) ? 200 : 404 }),
      [`DELETE /${DATA[id]}/`]: () => this.#delete(id),
    };
  }

  #find(physicalId: string): string | undefined {
    return [...this.remaining].find((id) => DATA[id] === physicalId);
  }

  #delete(id: string): Answer {
    if (this.failAfter === 0) {
      const message = `no permission to delete ${id}`;
      const xml = `<Error><Code>AccessDenied</Code><Message>${message}</Message></Error>`;
      return BUCKETS.includes(id) ? { status: 403, xml } : { error: 'AccessDeniedException', message };
    }
    this.failAfter -= 1;
    this.changes.push(id);
    this.remaining.delete(id);
    return {};
  }

  #describeKey(KeyId: string): Answer {
    if (KeyId === 'foreign-key') return { error: 'AccessDeniedException', message: 'no permission' };
    const Description = DESCRIPTIONS[KeyId] ?? 'Encrypts the data that lambent-dev stores';
    const KeyState = this.#find(KeyId) === undefined ? 'PendingDeletion' : 'Enabled';
    return { body: { KeyMetadata: { KeyId, Description, KeyState } } };
  }
}
