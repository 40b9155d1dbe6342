import type { Grant } from './policies.ts';

/** Grants that `driveService` uses rarely or never. Patterns are regular expressions. */
export interface UncalledGrants {
  /** Of `Role/Sid`. */
  readonly statement: RegExp;
  /** Of the action and the resource, separated by a space. */
  readonly use: RegExp;
  readonly reason: string;
}

/** What AWS uses on behalf of a function. The function's own code makes no such call. */
const USED_BY_AWS: readonly UncalledGrants[] = [
  { statement: /\/Log$/, use: /^logs:/, reason: 'Lambda writes the log.' },
  {
    statement: /\/(ReadStored|Store|DecryptTable|DecryptSecrets)$/,
    use: /^kms:\w+ .*key\/data$/,
    reason: 'DynamoDB, S3, SQS and the stores of secrets use the key (kms:ViaService).',
  },
  { statement: /^RecordRole\/GiveUp$/, use: /^sqs:SendMessage /, reason: 'Lambda sends batches that it gives up.' },
  {
    statement: /\/Receive$/,
    use: /^sqs:GetQueueAttributes /,
    reason: "Lambda reads the queue's attributes for the event source mapping.",
  },
  {
    statement: /\/(ListObjects|ListAuditLog)$/,
    use: /^s3:ListBucket /,
    reason: "With it, S3 answers 404 instead of 403 for an object that doesn't exist.",
  },
];

/** What functions call only after a failure, a race or a long time. */
const USED_RARELY: readonly UncalledGrants[] = [
  {
    statement: /\/TenantKeys$/,
    use: /^dynamodb:UpdateItem /,
    reason: "A tenant's key gets a new version after 90 days.",
  },
  {
    statement: /^(Chat|Generate|Dispatch|Sweep)Role\/(Sessions|Objects|ConversationItems)$/,
    use: /^(dynamodb:BatchWriteItem .*-sessions|s3:DeleteObject .*\/conversation\/\*)$/,
    reason: 'A turn removes its items if its conversation was deleted meanwhile.',
  },
  {
    statement: /^(Chat|Sessions|Intake|Generate|Dispatch|Sweep)Role\/(Jobs|Objects)$/,
    use: /^(dynamodb:(Query|BatchWriteItem) .*-jobs|s3:DeleteObject .*\/job\/\*)$/,
    reason: 'Bodies are removed if their job was deleted meanwhile or another attempt has ended it.',
  },
  {
    statement: /^SessionsRole\/Objects$/,
    use: /^s3:(Get|Put)Object .*\/job\/\*$/,
    reason: 'Records of idempotency keys are stored like bodies of jobs. One above 8 KB would be an object.',
  },
  {
    statement: /^(Generate|Dispatch)Role\/Pace$/,
    use: /^dynamodb:UpdateItem /,
    reason: 'Jobs share a pace after their model has throttled them.',
  },
  {
    statement: /^SweepRole\/Jobs$/,
    use: /^dynamodb:PutItem /,
    reason: 'No use is known. The statement is shared with the functions that run jobs.',
  },
  {
    statement: /^SweepRole\/(Jobs|Sessions|TenantKeys|Vault|Objects|ConversationItems|Reply|GiveUp|StorageLimits)$/,
    use: /^(?!dynamodb:(PutItem|UpdateItem|Query) .*-jobs$)/,
    reason: 'Only after a crash does the sweep add a turn, send a reply or give up a completion step.',
  },
  {
    statement: /^(Chat|Embeddings|Responses|Generate|Dispatch)Role\/Limits$/,
    use: /^dynamodb:GetItem /,
    reason: 'Items of shared limits are read if little is left of them.',
  },
  {
    statement: /^SweepRole\/(FindReservations|SettleReservations)$/,
    use: /^dynamodb:/,
    reason: 'Reservations of dead functions are looked for every 15 minutes.',
  },
  {
    statement: /^SweepRole\/(FindExpiringKeys|ReadKeys|RecordWarning|FindPolicy)$/,
    use: /^dynamodb:/,
    reason: 'Keys that expire soon are looked for once an hour.',
  },
  {
    statement: /^RecordRole\/AuditLog$/,
    use: /^s3:GetObject /,
    reason: 'Entries are read after a recorder has died before it settled their digest.',
  },
  {
    statement: /^DispatchRole\/GiveUp$/,
    use: /^sqs:SendMessage .*-jobs-dlq$/,
    reason: 'A completion step that has failed for days is given up.',
  },
  {
    statement: /^ResponsesRole\/Reply$/,
    use: /^sqs:SendMessage /,
    reason: 'A job is cancelled before any worker has taken it.',
  },
  {
    statement: /^(Generate|Dispatch|Sweep)Role\/Send$/,
    use: /^sqs:SendMessage /,
    reason: 'A released job gets a new ticket, in the other queue if a deployment has moved its model.',
  },
  {
    statement: /^(Generate|Dispatch)Role\/(Models|Profiles|ModelsBehindProfiles)$/,
    use: /^bedrock:InvokeModel /,
    reason: 'The policy of the models is shared with chat, which also calls models without streaming. Jobs stream.',
  },
];

export const UNCALLED_GRANTS: readonly UncalledGrants[] = [...USED_BY_AWS, ...USED_RARELY];

/** True if an entry covers a grant. */
export function covers({ statement, use }: UncalledGrants, { role, sid, action, resource }: Grant): boolean {
  return statement.test(`${role}/${sid}`) && use.test(`${action} ${resource}`);
}
