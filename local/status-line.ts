import type { WriteStream } from 'node:tty';
import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { Cloud } from './cloud.ts';

export interface StatusLine {
  /** Removes the line. */
  close(): void;
}

const REFRESH_MS = 500;
/** Erases the cursor's line and moves to its start. */
const ERASE = '\r\x1b[2K';

/** Streams whose output must not mix with the line. */
type Output = Pick<WriteStream, 'write'>;

/**
 * Shows in one line at the foot of a terminal what goes on in the cloud: messages that wait in each queue, messages that
 * functions are at work on, and processes. Whatever else is written to the terminal scrolls by above it.
 * @param terminal where a person looks
 * @param others what else is written to the same terminal: stderr
 */
export function startStatusLine(cloud: Cloud, terminal: WriteStream, others: readonly Output[] = []): StatusLine {
  const client = new SQSClient({
    endpoint: cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '',
    // The stand-in finds a queue by its URL, whatever the region.
    region: 'us-east-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    maxAttempts: 1,
  });
  const queues = Object.entries(cloud.resources).filter(([name]) => /_(QUEUE|DLQ)_URL$/.test(name));
  const write = terminal.write.bind(terminal);
  let line = '';
  const draw = () => void write(`${ERASE}${line.slice(0, terminal.columns - 1)}`);

  async function refresh(): Promise<void> {
    const before = line;
    try {
      const depths = await Promise.all(
        queues.map(async ([name, url]) => [name, await countMessages(client, url)] as const),
      );
      line = formatStatus({ depths, running: cloud.runningMessages(), processes: cloud.processes() });
    } catch {
      // SQS is being restarted.
      line = '';
    }
    if (line !== before) draw();
  }

  const restore = [terminal, ...others].map((output) => writeAbove(output, () => void write(ERASE), draw));
  const timer = setInterval(() => void refresh(), REFRESH_MS);
  timer.unref();
  return {
    close() {
      clearInterval(timer);
      for (const giveBack of restore) giveBack();
      write(ERASE);
      client.destroy();
    },
  };
}

/**
 * Makes what is written to `output` go above the line: it is erased before, and drawn again after a whole line.
 * @returns makes writing as it was
 */
function writeAbove(output: Output, erase: () => void, draw: () => void): () => void {
  const write = output.write.bind(output);
  const above = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    erase();
    const more = Reflect.apply(write, output, [chunk, ...rest]) === true;
    if (String(chunk).endsWith('\n')) draw();
    return more;
  };
  Object.assign(output, { write: above });
  return () => void Object.assign(output, { write });
}

async function countMessages(client: SQSClient, QueueUrl: string): Promise<number> {
  const names = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesDelayed'] as const;
  const { Attributes = {} } = await client.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...names] }),
  );
  return names.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0);
}

export interface Status {
  /** Waiting messages, by the variable that holds the queue's URL. */
  readonly depths: readonly (readonly [variable: string, messages: number])[];
  readonly running: number;
  readonly processes: readonly { readonly function: string; readonly busy: boolean }[];
}

/** `generation 3 waiting · 2 running · chat 1/2 generate 1/1`: of each function, how many of its processes are busy. */
export function formatStatus({ depths, running, processes }: Status): string {
  const waiting = depths
    // An empty dead-letter queue is not worth showing.
    .filter(([variable, count]) => count > 0 || variable.endsWith('_QUEUE_URL'))
    .map(([variable, count]) => `${formatQueueName(variable)} ${count} waiting`);
  const byFunction = Map.groupBy(processes, (each) => each.function);
  const functions = [...byFunction].map(
    ([name, all]) => `${name} ${all.filter(({ busy }) => busy).length}/${all.length}`,
  );
  return [...waiting, `${running} running`, functions.join(' ') || 'no processes'].join(' · ');
}

/** Returns `generation dlq` for `GENERATION_DLQ_URL`. */
function formatQueueName(variable: string): string {
  return variable
    .replace(/_(QUEUE_)?URL$/, '')
    .toLowerCase()
    .replaceAll('_', ' ');
}
