import { DynamoDBClient, paginateScan } from '@aws-sdk/client-dynamodb';
import * as v from 'valibot';
import type { Cloud } from '../../local/cloud.ts';
import { LOCAL_API_KEY } from '../../local/seed.ts';
import type { Questions } from './questions.ts';

/** The jobs' table at the end of a run. */
export interface TableState {
  /** Status by id. */
  readonly statuses: ReadonlyMap<string, string>;
  /** Number of ended jobs with incomplete completion steps. */
  readonly incompleteSteps: number;
}

/** Reads the whole jobs' table, without the service's code. */
export async function readTable(cloud: Cloud, TableName: string | undefined): Promise<TableState> {
  const client = new DynamoDBClient({
    region: 'eu-west-1',
    endpoint: cloud.endpoints['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  const statuses = new Map<string, string>();
  let incompleteSteps = 0;
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
      if (fanIn !== undefined) incompleteSteps += 1;
    }
  }
  client.destroy();
  return { statuses, incompleteSteps };
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
    if (!parsed.success) wrong += 1;
    else if (parsed.output.status === 'completed') {
      const answer = parsed.output.output.flatMap(({ content = [] }) => content.map(({ text = '' }) => text)).join('');
      if (!questions.isAnswer(job, answer)) wrong += 1;
    }
  }
  return { checked: sample.length, wrong };
}
