import { Agent, createServer, type IncomingMessage, type ServerResponse, request as send } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { listen } from '../../local/listen.ts';

/** How often an operation was asked for, and the capacity units that DynamoDB says it took. */
export interface Count {
  requests: number;
  units: number;
}

/** Stands before a stand-in for an AWS service and counts what it is asked. */
export interface Counter extends AsyncDisposable {
  readonly url: string;
  /** Base URL of the stand-in: known only when it has started. */
  target: string;
  /** By operation (`PutItem`), since the last `reset`. */
  counts(): ReadonlyMap<string, Readonly<Count>>;
  reset(): void;
}

/** Starts a counter on 127.0.0.1. DynamoDB is also asked what each request consumes, which nobody else notices. */
export async function startCounter(): Promise<Counter> {
  const counts = new Map<string, Count>();
  const agent = new Agent({ keepAlive: true });
  let target = '';

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const operation = operationOf(request);
    const count = counts.get(operation) ?? { requests: 0, units: 0 };
    counts.set(operation, count);
    count.requests += 1;
    const asked = await buffer(request);
    const measured = request.headers['x-amz-target']?.toString().startsWith('DynamoDB') ?? false;
    const answer = await forward(request, measured ? askingForUnits(asked) : asked);
    const body = await buffer(answer);
    if (measured) count.units += unitsOf(body);
    response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
    response.end(body);
  }

  function forward({ method, url, headers }: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const onward = send(
        new URL(url ?? '/', target),
        { agent, method, headers: { ...headers, 'content-length': body.byteLength } },
        resolve,
      );
      onward.on('error', reject);
      onward.end(body);
    });
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => request.socket.destroy());
  });
  const listening = await listen(server, { port: 0 });
  return {
    url: `http://127.0.0.1:${listening.port}`,
    get target() {
      return target;
    },
    set target(url) {
      target = url;
    },
    counts: () => new Map([...counts].map(([operation, count]) => [operation, { ...count }])),
    reset: () => counts.clear(),
    async [Symbol.asyncDispose]() {
      await listening.close();
      agent.destroy();
    },
  };
}

/** `DynamoDB_20120810.PutItem` is `PutItem`; S3 has methods instead. */
function operationOf({ headers, method }: IncomingMessage): string {
  return headers['x-amz-target']?.toString().split('.').at(-1) ?? `${method}`;
}

function askingForUnits(body: Buffer): Buffer {
  return Buffer.from(JSON.stringify({ ...JSON.parse(body.toString('utf8')), ReturnConsumedCapacity: 'TOTAL' }));
}

interface Consumed {
  readonly CapacityUnits?: number;
}

/** One answer names one table's units, or those of several; a refused write names none, and costs one. */
function unitsOf(body: Buffer): number {
  const { ConsumedCapacity = { CapacityUnits: 1 } }: { ConsumedCapacity?: Consumed | Consumed[] } = JSON.parse(
    body.toString('utf8'),
  );
  return [ConsumedCapacity].flat().reduce((sum, { CapacityUnits = 0 }) => sum + CapacityUnits, 0);
}
