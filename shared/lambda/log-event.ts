import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import * as v from 'valibot';

/** Log lines that a subscription filter has selected, as CloudWatch delivers them. */
export interface LogBatch {
  /** The same whenever the batch is delivered: CloudWatch delivers at least once. 64 hexadecimal digits. */
  readonly id: string;
  readonly logGroup: string;
  readonly logStream: string;
  readonly lines: readonly string[];
}

const eventSchema = v.object({ awslogs: v.object({ data: v.pipe(v.string(), v.base64()) }) });
const dataSchema = v.object({
  messageType: v.string(),
  logGroup: v.string(),
  logStream: v.string(),
  logEvents: v.array(v.object({ id: v.string(), timestamp: v.number(), message: v.string() })),
});

/**
 * Parses the event of a subscription filter. Returns undefined for CloudWatch's own messages, which check that the function can
 * be called.
 * @throws Error if it is another event
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html#LambdaFunctionExample
 */
export function parseLogEvent(event: unknown): LogBatch | undefined {
  const { awslogs } = v.parse(eventSchema, event);
  const json = gunzipSync(Buffer.from(awslogs.data, 'base64')).toString('utf8');
  const { messageType, logGroup, logStream, logEvents } = v.parse(dataSchema, JSON.parse(json));
  if (messageType !== 'DATA_MESSAGE') return undefined;
  const ids = logEvents.map(({ id }) => id);
  const id = createHash('sha256')
    .update(JSON.stringify([logGroup, logStream, ids]))
    .digest('hex');
  return { id, logGroup, logStream, lines: logEvents.map(({ message }) => message) };
}
