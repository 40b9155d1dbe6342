import { createServer } from 'node:http';
import { listen } from '../../../../local/listen.ts';
import { readBody } from '../../../../local/read-body.ts';

/** A task as ECS's API has it: times in epoch seconds. */
export interface StandInTask {
  taskArn: string;
  clusterArn: string;
  group: string;
  lastStatus: string;
  desiredStatus: string;
  healthStatus: string;
  version: number;
  startedAt: number;
  containerInstanceArn: string;
  attachments: { type: string; details: { name: string; value: string }[] }[];
  containers: { name: string; runtimeId: string; lastStatus: string }[];
}

export interface StandInEcs extends AsyncDisposable {
  readonly url: string;
  /** By their ARNs. */
  readonly tasks: Map<string, StandInTask>;
  /** EC2 instances by the ARNs of container instances. */
  readonly instances: Map<string, string>;
  readonly service: { desiredCount: number; runningCount: number; pendingCount: number };
  /** The operations that were asked for, as they came. */
  readonly asked: string[];
  /** Makes every request fail. */
  broken: boolean;
}

export const CLUSTER = 'arn:aws:ecs:eu-west-1:123456789012:cluster/gpu';
const PREFIX = 'arn:aws:ecs:eu-west-1:123456789012';
/** Small, so that a test sees pages. ECS's own is 100. */
const PAGE = 3;

export function aTask(id: string, changes: Partial<StandInTask> = {}): StandInTask {
  return {
    taskArn: `${PREFIX}:task/gpu/${id}`,
    clusterArn: CLUSTER,
    group: 'service:qwen',
    lastStatus: 'RUNNING',
    desiredStatus: 'RUNNING',
    healthStatus: 'UNKNOWN',
    version: 4,
    startedAt: 1_800_000_000,
    containerInstanceArn: `${PREFIX}:container-instance/gpu/ci-${id}`,
    attachments: [{ type: 'ElasticNetworkInterface', details: [{ name: 'privateIPv4Address', value: '127.0.0.1' }] }],
    containers: [{ name: 'engine', runtimeId: `${id}-1`, lastStatus: 'RUNNING' }],
    ...changes,
  };
}

/** What is asked of it, of all its operations. */
interface Input {
  readonly desiredStatus?: string;
  readonly nextToken?: string;
  readonly tasks?: readonly string[];
  readonly containerInstances?: readonly string[];
  readonly desiredCount?: number;
}

/** ECS on the wire (AWS JSON 1.1), as far as the fleet's upkeep asks it, with one service. */
export async function startStandInEcs(): Promise<StandInEcs> {
  const tasks = new Map<string, StandInTask>();
  const instances = new Map<string, string>();
  const service = { desiredCount: 0, runningCount: 0, pendingCount: 0 };
  const asked: string[] = [];
  const operations: Record<string, (input: Input) => object> = {
    ListTasks({ desiredStatus, nextToken }) {
      const arns = [...tasks.values()]
        .filter((task) => task.desiredStatus === desiredStatus)
        .map((task) => task.taskArn);
      const from = Number(nextToken ?? 0);
      const next = from + PAGE < arns.length ? { nextToken: String(from + PAGE) } : {};
      return { taskArns: arns.slice(from, from + PAGE), ...next };
    },
    DescribeTasks: ({ tasks: arns = [] }) => ({
      tasks: arns.flatMap((arn) => tasks.get(arn) ?? []),
      failures: [],
    }),
    DescribeContainerInstances: ({ containerInstances = [] }) => ({
      containerInstances: containerInstances.map((containerInstanceArn) => ({
        containerInstanceArn,
        ec2InstanceId: instances.get(containerInstanceArn),
      })),
    }),
    DescribeServices: () => ({ services: [{ serviceName: 'qwen', status: 'ACTIVE', ...service }], failures: [] }),
    UpdateService({ desiredCount = 0 }) {
      service.desiredCount = desiredCount;
      return { service: { serviceName: 'qwen', ...service } };
    },
  };
  const standIn = { broken: false };
  const listening = await listen(
    createServer(async (request, response) => {
      const operation = String(request.headers['x-amz-target']).split('.')[1] ?? '';
      asked.push(operation);
      const answer = operations[operation]?.(JSON.parse(String(await readBody(request, 1_000_000))));
      const status = standIn.broken ? 400 : 200;
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' });
      response.end(JSON.stringify(standIn.broken ? { __type: 'AccessDeniedException' } : answer));
    }),
    { port: 0 },
  );
  return Object.assign(standIn, {
    url: `http://127.0.0.1:${listening.port}`,
    tasks,
    instances,
    service,
    asked,
    [Symbol.asyncDispose]: () => listening.close(),
  });
}
