import type { WriteStream } from 'node:tty';
import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { Cloud } from './cloud.ts';

export interface StatusLine {
  /** Removes the line. */
  close(): void;
}

/** Milliseconds between updates of the line. */
const REFRESH_MS = 500;
/** Erases the cursor's line and moves to its start. */
const ERASE = '\r\x1b[2K';

/** A stream that writes to the terminal. */
type Output = Pick<WriteStream, 'write'>;

/**
 * Shows the cloud's activity in the last line of a terminal: the messages waiting in each queue, the messages that
 * functions are processing, and the functions' processes. All other output scrolls above the line.
 * @param terminal the stream on which the line is shown
 * @param others other streams that write to the same terminal, such as stderr
 */
export function startStatusLine(cloud: Cloud, terminal: WriteStream, others: readonly Output[] = []): StatusLine {
  const client = new SQSClient({
    endpoint: cloud.endpoints['AWS_ENDPOINT_URL_SQS'] ?? '',
    // The stand-in finds a queue by its URL, whatever the region.
    region: 'us-east-1',
    credentials: cloud.credentials,
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

  const restorers = [terminal, ...others].map((output) => writeAbove(output, () => void write(ERASE), draw));
  const timer = setInterval(() => void refresh(), REFRESH_MS);
  timer.unref();
  return {
    close() {
      clearInterval(timer);
      for (const restore of restorers) restore();
      write(ERASE);
      client.destroy();
    },
  };
}

/**
 * Makes a stream write above the line: the line is erased before each write, and drawn again when the cursor is at the
 * start of a new line.
 * @returns a function that restores the stream
 */
function writeAbove(output: Output, erase: () => void, draw: () => void): () => void {
  const write = output.write.bind(output);
  const writeChunk = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
    erase();
    const accepted = Reflect.apply(write, output, [chunk, ...rest]) === true;
    if (String(chunk).endsWith('\n')) draw();
    return accepted;
  };
  Object.assign(output, { write: writeChunk });
  return () => void Object.assign(output, { write });
}

/** Returns the number of messages that wait in a queue, delayed messages included. */
async function countMessages(client: SQSClient, QueueUrl: string): Promise<number> {
  const names = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesDelayed'] as const;
  const { Attributes = {} } = await client.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...names] }),
  );
  return names.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0);
}

/** The numbers that the line shows. */
export interface Status {
  /** Waiting messages, by the variable that holds the queue's URL. */
  readonly depths: readonly (readonly [variable: string, messages: number])[];
  /** Messages that functions are processing. */
  readonly running: number;
  readonly processes: readonly { readonly function: string; readonly busy: boolean }[];
}

/**
 * Returns the text of the line: `generation 3 waiting · 2 running · chat 1/2 generate 1/1`. The numbers after a
 * function's name are those of its busy processes and of all its processes.
 */
export function formatStatus({ depths, running, processes }: Status): string {
  const waiting = depths
    // Empty dead-letter queues are not shown.
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
