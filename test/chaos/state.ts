import { DynamoDBClient, paginateScan } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import type { Cloud } from '../../local/cloud.ts';
import { LOCAL_API_KEY } from '../../local/seed.ts';
import type { Questions } from './questions.ts';

/** What lies in the jobs' table at the end. */
export interface TableState {
  /** Status by id. */
  readonly statuses: ReadonlyMap<string, string>;
  /** Ended jobs of which something is still to be told. */
  readonly untold: number;
}

/** Reads the whole table of jobs, past all of the service's code. */
export async function readTable(cloud: Cloud, TableName: string | undefined): Promise<TableState> {
  const client = new DynamoDBClient({
    region: 'eu-west-1',
    endpoint: cloud.endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  const statuses = new Map<string, string>();
  let untold = 0;
  const pages = paginateScan(
    { client },
    {
      TableName,
      FilterExpression: 'sk = :job',
      ExpressionAttributeValues: { ':job': { S: 'job' } },
      ProjectionExpression: 'pk, #status, fanIn',
      ExpressionAttributeNames: { '#status': 'status' },
    },
  );
  for await (const { Items = [] } of pages) {
    for (const { pk, status, fanIn } of Items) {
      const key = pk?.S ?? '';
      statuses.set(key.slice(key.indexOf('#') + 1), status?.S ?? '');
      if (fanIn !== undefined) untold += 1;
    }
  }
  client.destroy();
  return { statuses, untold };
}

/** What `GET /v1/responses/{id}` shows of a sample of jobs. */
export interface Shown {
  readonly checked: number;
  /** Those that aren't there, or show another job's answer, or a completed one without its own. */
  readonly wrong: number;
}

const SAMPLE = 500;

const responseSchema = v.object({
  status: v.string(),
  output: v.array(v.looseObject({ content: v.optional(v.array(v.looseObject({ text: v.optional(v.string()) }))) })),
});

/** Asks for accepted jobs as their callers would, and checks that each shows its own answer. */
export async function checkShown(
  { url }: Cloud,
  accepted: ReadonlyMap<string, number>,
  questions: Questions,
  random: () => number,
): Promise<Shown> {
  const share = SAMPLE / accepted.size;
  const sample = [...accepted].filter(() => random() < share);
  let wrong = 0;
  for (const [id, job] of sample) {
    const response = await fetch(`${url}/responses/${id}`, { headers: { authorization: `Bearer ${LOCAL_API_KEY}` } });
    const shown = v.safeParse(responseSchema, await response.json());
    if (!shown.success) wrong += 1;
    else if (shown.output.status === 'completed') {
      const said = shown.output.output.flatMap(({ content = [] }) => content.map(({ text = '' }) => text)).join('');
      if (!questions.answers(job, said)) wrong += 1;
    }
  }
  return { checked: sample.length, wrong };
}
