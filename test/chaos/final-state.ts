import { DynamoDBClient, paginateScan } from '@aws-sdk/client-dynamodb';
import { paginateListObjectsV2, S3Client } from '@aws-sdk/client-s3';
import * as v from 'valibot';
import type { Cloud } from '../../local/cloud.ts';
import { LOCAL_API_KEY } from '../../local/seed.ts';
import { TENANT } from './messages.ts';
import type { Produced } from './producers.ts';
import { findJob, type Questions } from './questions.ts';

/** The jobs' table at the end of a run. */
export interface TableState {
  /** Status by id; `deleted` for a tombstone. */
  readonly statuses: ReadonlyMap<string, string>;
  /** Number of ended jobs with incomplete completion steps, and of deleted ones whose bodies may not all be removed. */
  readonly incompleteSteps: number;
  /** Number of items and objects that deleted jobs have left. */
  readonly leftovers: number;
}

/** Reads the whole jobs' table and the names of the bucket's objects, without the service's code. */
export async function readTable(cloud: Cloud, TableName: string | undefined): Promise<TableState> {
  const client = new DynamoDBClient(getClientOptions(cloud, 'DYNAMODB'));
  const statuses = new Map<string, string>();
  const bodies = new Map<string, number>();
  let incompleteSteps = 0;
  const pages = paginateScan(
    { client },
    {
      TableName,
      ProjectionExpression: 'pk, sk, #status, fanIn, deletedAt, duePartition',
      ExpressionAttributeNames: { '#status': 'status' },
    },
  );
  for await (const { Items = [] } of pages) {
    for (const { pk, sk, status, fanIn, deletedAt, duePartition } of Items) {
      const key = pk?.S ?? '';
      const id = key.slice(key.indexOf('#') + 1);
      if (sk?.S === 'job') {
        statuses.set(id, deletedAt === undefined ? (status?.S ?? '') : 'deleted');
        if (fanIn !== undefined || (deletedAt !== undefined && duePartition !== undefined)) incompleteSteps += 1;
      } else bodies.set(id, (bodies.get(id) ?? 0) + 1);
    }
  }
  client.destroy();
  for (const id of await listObjectOwners(cloud)) bodies.set(id, (bodies.get(id) ?? 0) + 1);
  const leftovers = [...bodies]
    .filter(([id]) => statuses.get(id) === 'deleted')
    .reduce((sum, [, count]) => sum + count, 0);
  return { statuses, incompleteSteps, leftovers };
}

/** Returns the id of its job for each object of a job. */
async function listObjectOwners(cloud: Cloud): Promise<string[]> {
  const client = new S3Client({ ...getClientOptions(cloud, 'S3'), forcePathStyle: true });
  const prefix = `${TENANT}/job/`;
  const owners: string[] = [];
  for await (const { Contents = [] } of paginateListObjectsV2(
    { client },
    { Bucket: cloud.resources['BUCKET'], Prefix: prefix },
  )) {
    owners.push(...Contents.map(({ Key = '' }) => Key.slice(prefix.length).split('/')[0] ?? ''));
  }
  client.destroy();
  return owners;
}

function getClientOptions(cloud: Cloud, service: 'DYNAMODB' | 'S3') {
  return {
    region: 'eu-west-1',
    endpoint: cloud.endpoints[`AWS_ENDPOINT_URL_${service}`] ?? '',
    credentials: cloud.credentials,
  };
}

/** The result of `GET /v1/responses/{id}` for a sample of jobs. */
export interface ResponseCheck {
  readonly checked: number;
  /** Responses that are missing, or completed without their own job's answer. */
  readonly wrong: number;
}

const SAMPLE = 500;

const responseSchema = v.object({
  status: v.string(),
  output: v.array(v.looseObject({ content: v.optional(v.array(v.looseObject({ text: v.optional(v.string()) }))) })),
});

/** Retrieves a sample of the accepted jobs and checks that each has its own answer. */
export async function checkResponses(
  { url }: Cloud,
  accepted: ReadonlyMap<string, number>,
  questions: Questions,
  random: () => number,
): Promise<ResponseCheck> {
  const share = SAMPLE / accepted.size;
  const sample = [...accepted].filter(() => random() < share);
  let wrong = 0;
  for (const [id, job] of sample) {
    const response = await fetch(`${url}/responses/${id}`, { headers: { authorization: `Bearer ${LOCAL_API_KEY}` } });
    const parsed = v.safeParse(responseSchema, await response.json());
    if (questions.kind(job) === 'deleted') wrong += response.status === 404 ? 0 : 1;
    else if (!parsed.success) wrong += 1;
    else if (parsed.output.status === 'completed') {
      const answer = parsed.output.output.flatMap(({ content = [] }) => content.map(({ text = '' }) => text)).join('');
      if (!questions.isAnswer(job, answer)) wrong += 1;
    }
  }
  return { checked: sample.length, wrong };
}

/** The turns of conversations at the end of a run. */
export interface TurnCheck {
  readonly turns: number;
  /** Completed turns that their conversation doesn't contain exactly once, others that it contains, and foreign items. */
  readonly wrong: number;
}

const itemsSchema = v.object({
  data: v.array(v.looseObject({ role: v.string(), content: v.array(v.looseObject({ text: v.string() })) })),
});

/** Lists the items of each conversation, and checks that it contains each completed turn once and nothing else. */
export async function checkConversations(
  { url }: Pick<Cloud, 'url'>,
  { conversations, accepted }: Pick<Produced, 'conversations' | 'accepted'>,
  questions: Questions,
  isCompleted: (id: string) => boolean,
): Promise<TurnCheck> {
  let wrong = 0;
  for (const [conversation, turns] of conversations) {
    const response = await fetch(`${url}/conversations/${conversation}/items?limit=100`, {
      headers: { authorization: `Bearer ${LOCAL_API_KEY}` },
    });
    const parsed = v.safeParse(itemsSchema, await response.json());
    const items = (parsed.success ? parsed.output.data : []).map(({ role, content }) => ({
      role,
      text: content.map(({ text }) => text).join(''),
    }));
    let expected = 0;
    for (const id of turns) {
      const job = accepted.get(id) ?? -1;
      const asked = items.filter(({ role, text }) => role === 'user' && findJob(text) === job).length;
      const answered = items.filter(({ role, text }) => role === 'assistant' && questions.isAnswer(job, text)).length;
      const times = isCompleted(id) ? 1 : 0;
      if (asked !== times || answered !== times) wrong += 1;
      expected += 2 * times;
    }
    if (items.length !== expected) wrong += 1;
  }
  return { turns: [...conversations.values()].reduce((sum, turns) => sum + turns.length, 0), wrong };
}
