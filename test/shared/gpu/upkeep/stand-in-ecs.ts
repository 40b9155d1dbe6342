import { createServer } from 'node:http';
import { listen } from '../../../../local/listen.ts';
import { readBody } from '../../../../local/read-body.ts';

/** A task in the format of ECS's API. Times are epoch seconds. */
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
  /** Tasks by ARN. */
  readonly tasks: Map<string, StandInTask>;
  /** EC2 instance ids by container instance ARN. */
  readonly instances: Map<string, string>;
  readonly service: { desiredCount: number; runningCount: number; pendingCount: number };
  /** Names of the requested operations, in order. */
  readonly requests: string[];
  /** If true, every request fails. */
  broken: boolean;
}

export const CLUSTER = 'arn:aws:ecs:eu-west-1:123456789012:cluster/gpu';
const PREFIX = 'arn:aws:ecs:eu-west-1:123456789012';
/** Small, so that a test needs several pages. ECS's page size is 100. */
const PAGE = 3;

/** Returns a running task of the service `qwen`, with the given changes. */
export function createTask(id: string, changes: Partial<StandInTask> = {}): StandInTask {
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

/** The inputs of all operations. */
interface Input {
  readonly desiredStatus?: string;
  readonly nextToken?: string;
  readonly tasks?: readonly string[];
  readonly containerInstances?: readonly string[];
  readonly desiredCount?: number;
}

/** Starts a stand-in for ECS (AWS JSON 1.1) with one service and the operations that the fleet's upkeep uses. */
export async function startStandInEcs(): Promise<StandInEcs> {
  const tasks = new Map<string, StandInTask>();
  const instances = new Map<string, string>();
  const service = { desiredCount: 0, runningCount: 0, pendingCount: 0 };
  const requests: string[] = [];
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
      requests.push(operation);
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
    requests,
    [Symbol.asyncDispose]: () => listening.close(),
  });
}
