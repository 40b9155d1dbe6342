/**
 * An operator's commands on the audit log of a stage or of the laptop: `npm run audit -- verify` and `npm run audit -- export
 * --project NAME`. For a stage, they use the shell's AWS credentials. docs/audit.md describes them.
 */
import { readFile } from 'node:fs/promises';
import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { KMSClient } from '@aws-sdk/client-kms';
import { S3Client } from '@aws-sdk/client-s3';
import type { ChainStore } from '../../shared/audit/chain.ts';
import { createChainTable } from '../../shared/audit/chain-table.ts';
import { CHAINS, hashText } from '../../shared/audit/digest.ts';
import type { Entry } from '../../shared/audit/entry.ts';
import { readPublicKey } from '../../shared/audit/kms-signer.ts';
import { StrayFinder } from '../../shared/audit/strays.ts';
import { type AuditObjects, type AuditProblem, type VerifiedDigest, verifyChain } from '../../shared/audit/verify.ts';
import { createBucket } from '../../shared/aws/bucket.ts';
import { checkArgument, parseOptions, runCommandLine, UsageError } from './command-line.ts';
import {
  createLocalConfig,
  isLocal,
  type LocalClientConfig,
  parseLocalEnvironment,
  readLocalEnvironment,
  type TargetOptions,
} from './local-target.ts';
import { resolveStage } from './stage.ts';

const USAGE = `usage:
  npm run audit -- verify [--from FILE] [--retention-days DAYS] (--stage STAGE [--region REGION] | --local)
  npm run audit -- export --project NAME [--from FILE] [--retention-days DAYS] (--stage STAGE [--region REGION] | --local)

  --project         the tenant whose entries are written, as lines of JSON
  --from            what an earlier run wrote to stderr: each chain is continued from there
  --retention-days  the former auditRetentionDays, if it was raised: what is as old may be missing
  --local           the laptop, while npm start runs
  --region          default: that of the stage in stages.json, else in serverless.yml`;

const OPTIONS = {
  stage: { type: 'string' },
  region: { type: 'string' },
  local: { type: 'boolean', default: false },
  project: { type: 'string' },
  from: { type: 'string' },
  'retention-days': { type: 'string' },
} as const;
const DAYS = /^[1-9]\d{0,4}$/;
const TENANT = /^[A-Za-z0-9#][A-Za-z0-9._-]{0,63}$/;

interface AuditCommandContext {
  /** Returns the text of the file `.local/env`; undefined if `npm start` doesn't run. */
  readonly localEnvironment: () => Promise<string | undefined>;
  readonly print: (line: string) => void;
  /** Writes a line about the verification, apart from what is exported. */
  readonly report: (line: string) => void;
  /** Returns the time in epoch milliseconds. */
  readonly now: () => number;
}

/** Where an audit log is kept. */
interface AuditLog {
  readonly table: string;
  readonly bucket: string;
  readonly key: string;
  /** Days after which objects expire. */
  readonly keptDays: number;
  /** Returns the configuration of a client of an AWS service. */
  readonly configure: (service: 'DYNAMODB' | 'KMS' | 'S3') => ClientConfig;
}

/** Without an endpoint and credentials: AWS, and those of the shell. */
interface ClientConfig extends Partial<LocalClientConfig> {
  readonly region: string;
  readonly forcePathStyle?: boolean;
}

/**
 * Runs one command.
 * @throws UsageError for invalid arguments
 * @throws Error that names the chains with a gap or a change, or AWS's reason
 */
export async function runAuditCommand(args: readonly string[], context: AuditCommandContext): Promise<void> {
  const { positionals, values } = parseOptions(args, OPTIONS);
  const [command, ...more] = positionals;
  if (more.length > 0) throw new UsageError(`${command} takes only options, not '${more[0]}'`);
  if (command === 'verify') {
    if (values.project !== undefined) throw new UsageError('verify takes no --project: it walks all chains');
    const from = await readReport(values.from);
    return verify(await findAuditLog(values, context), { from }, context);
  }
  if (command !== 'export')
    throw new UsageError(command === undefined ? 'the command is missing' : `unknown command '${command}'`);
  const project = checkArgument('--project', values.project, TENANT, "a tenant's name");
  const from = await readReport(values.from);
  return verify(await findAuditLog(values, context), { project, from }, context);
}

async function readReport(path: string | undefined): Promise<ReadonlyMap<number, VerifiedDigest>> {
  return path === undefined ? new Map() : parseReport(await readFile(path, 'utf8'));
}

/** What to verify, and from where. */
interface VerifyRequest {
  /** The tenant whose entries are written. */
  readonly project?: string;
  /** The digests up to which chains were verified before. */
  readonly from: ReadonlyMap<number, VerifiedDigest>;
}

async function verify(log: AuditLog, request: VerifyRequest, context: AuditCommandContext): Promise<void> {
  const { report } = context;
  const dynamodb = new DynamoDBClient(log.configure('DYNAMODB'));
  const kms = new KMSClient(log.configure('KMS'));
  const s3 = new S3Client(log.configure('S3'));
  const problems: AuditProblem[] = [];
  const unknown: string[] = [];
  let chain = 0;
  try {
    const store = createChainTable({ client: dynamodb, name: log.table });
    const objects = createBucket(s3, log.bucket);
    const publicKey = await readPublicKey(kms, log.key);
    for (; chain < CHAINS; chain += 1) {
      const found = await walkChain(chain, { store, objects, publicKey, log }, request, context);
      if (found.problem !== undefined) problems.push(found.problem);
      unknown.push(...found.unknown.map((name) => `chain ${chain}: ${name}`));
    }
  } catch (thrown) {
    // The chains that were not begun: so that a later run can continue each one.
    for (const [later, { sequence, hash, at }] of request.from)
      if (later > chain) report(`chain ${later}: not verified now, verified to ${sequence} ${hash} ${at}`);
    throw thrown;
  } finally {
    for (const client of [dynamodb, kms, s3]) client.destroy();
  }
  const lines = problems.map(({ chain, sequence, problem }) => `chain ${chain}, digest ${sequence}: ${problem}`);
  const messages = [
    ...(lines.length === 0 ? [] : ['The audit log has gaps or changes. The first of each chain:', ...lines]),
    ...(unknown.length === 0 ? [] : ['The bucket has objects that no recorder has written:', ...unknown]),
  ];
  if (messages.length > 0) throw new Error(messages.join('\n'));
  report(`The audit log is complete and unchanged${request.from.size > 0 ? ' since it was last verified' : ''}.`);
}

interface WalkPorts {
  readonly store: Pick<ChainStore, 'readHead'>;
  readonly objects: AuditObjects;
  readonly publicKey: Uint8Array;
  readonly log: AuditLog;
}

/**
 * Verifies a chain and writes the entries of the project. Reports how far it came, also if it fails.
 * @returns the first problem, and the names of objects that no recorder has written
 */
async function walkChain(
  chain: number,
  { store, objects, publicKey, log }: WalkPorts,
  { project, from: before }: VerifyRequest,
  { print, report, now }: AuditCommandContext,
): Promise<{ readonly problem: AuditProblem | undefined; readonly unknown: readonly string[] }> {
  const expiry = { keptDays: log.keptDays, now };
  const from = before.get(chain);
  const seen = { digests: 0, entries: 0, last: from };
  let end = 'interrupted';
  try {
    const strays = await StrayFinder.begin(chain, objects, expiry, from?.at);
    const readHead = () => store.readHead(chain);
    const head = await readHead();
    const foreign = new Set<string>();
    const problem = await verifyChain(chain, {
      ...{ objects, publicKey, head, readHead, from, ...expiry },
      onForeignName: (name) => void foreign.add(name),
      async onDigest(digest, entries, verified) {
        await strays.refer(digest.entries.key, digest.at);
        seen.digests += 1;
        seen.entries += entries.length;
        seen.last = verified;
        if (project === undefined) return;
        for (const entry of entries) if (belongsTo(entry, project)) print(JSON.stringify(entry));
      },
    });
    // Behind a problem, no digest was read.
    if (problem === undefined && head !== undefined) await strays.refer(head.digest.entries.key, head.digest.at);
    if (problem === undefined)
      for (const name of await strays.finish()) report(`chain ${chain}: no digest for ${name}`);
    const others = await strays.findOthers();
    end = head === undefined ? 'empty' : `head ${head.digest.sequence} ${hashText(head.text)}`;
    return { problem, unknown: [...foreign, ...others] };
  } finally {
    const { digests, entries, last } = seen;
    const verified = last === undefined ? '' : `verified to ${last.sequence} ${last.hash} ${last.at}, `;
    report(`chain ${chain}: ${digests} digests, ${entries} entries, ${verified}${end}`);
  }
}

/**
 * Reads how far chains were verified from the report of an earlier run.
 * @throws UsageError if the text names no digest
 */
function parseReport(text: string): ReadonlyMap<number, VerifiedDigest> {
  const lines = text.matchAll(/^chain (\d): .*verified to (\d+) ([0-9a-f]{64}) (\d{4}-\S+Z)/gm);
  const digests = [...lines].map(
    ([, chain, sequence, hash = '', at = '']) => [Number(chain), { sequence: Number(sequence), hash, at }] as const,
  );
  if (digests.length === 0)
    throw new UsageError('--from is no report of an earlier run: it has no line with verified to');
  return new Map(digests);
}

/** Calls name their tenant, acts the project that they concern. */
function belongsTo({ tenant, project }: Entry, name: string): boolean {
  return tenant === name || project === name;
}

/** Finds the log of the command's target. What has expired under an earlier, shorter retention is not missed. */
async function findAuditLog(
  { 'retention-days': days, ...target }: TargetOptions & { readonly 'retention-days'?: string | undefined },
  context: AuditCommandContext,
): Promise<AuditLog> {
  const former = days && checkArgument('--retention-days', days, DAYS, 'a number of days');
  const log = await findTarget(target, context);
  return former ? { ...log, keptDays: Math.min(log.keptDays, Number(former)) } : log;
}

async function findTarget(options: TargetOptions, { localEnvironment }: AuditCommandContext): Promise<AuditLog> {
  if (isLocal(options)) {
    const read = parseLocalEnvironment(await localEnvironment());
    return {
      ...{ table: read('USAGE_TABLE'), bucket: read('AUDIT_BUCKET'), key: read('AUDIT_KEY_ID') },
      keptDays: Number.POSITIVE_INFINITY,
      // The stand-in for S3 has no host per bucket.
      configure: (service) => ({ ...createLocalConfig(read, service), forcePathStyle: true }),
    };
  }
  const { prefix, region } = await resolveStage(options);
  const client = new CloudFormationClient({ region });
  try {
    const { Stacks = [] } = await client.send(new DescribeStacksCommand({ StackName: prefix }));
    const outputs = new Map(Stacks[0]?.Outputs?.map(({ OutputKey, OutputValue }) => [OutputKey, OutputValue]));
    const read = (name: string): string => {
      const value = outputs.get(name);
      if (value === undefined) throw new Error(`${prefix} has no output ${name}: deploy it again`);
      return value;
    };
    return {
      ...{ table: read('UsageTableName'), bucket: read('AuditBucketName'), key: read('AuditKeyArn') },
      ...{ keptDays: Number(read('AuditRetentionDays')), configure: () => ({ region }) },
    };
  } finally {
    client.destroy();
  }
}

if (import.meta.main) {
  const context = { localEnvironment: readLocalEnvironment, print: console.log, report: console.error, now: Date.now };
  await runCommandLine((args) => runAuditCommand(args, context), USAGE);
}
