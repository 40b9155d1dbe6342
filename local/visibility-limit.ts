import type { buildApp } from 'fauxqs';
import * as v from 'valibot';

/** Seconds for which a message may be hidden, counted from its receive. */
const MAX_SECONDS = 43_200;
/** A timeout that fauxqs refuses with the error of SQS. */
const TOO_LONG_SECONDS = MAX_SECONDS + 1;

/** Matches a field of a response, never the text of a message, whose quotes are escaped. */
const RECEIPT_HANDLE = /"ReceiptHandle":"([^"]+)"/g;
const change = v.looseObject({ ReceiptHandle: v.string(), VisibilityTimeout: v.number() });
const changeBatch = v.looseObject({ Entries: v.array(change) });

/**
 * Makes a fauxqs app refuse to hide a message beyond 12 hours from its receive, as SQS does. fauxqs itself only refuses a
 * single timeout of more than 12 hours. Call it before the app is ready.
 * @param now epoch milliseconds
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
 */
export function limitVisibility(app: ReturnType<typeof buildApp>, now: () => number): void {
  /** Epoch milliseconds of each receive of the last 12 hours, by receipt handle, the oldest first. */
  const receivedAt = new Map<string, number>();

  function limit<Change extends v.InferOutput<typeof change>>(each: Change): Change {
    const since = receivedAt.get(each.ReceiptHandle) ?? now();
    const isTooLong = now() + each.VisibilityTimeout * 1000 > since + MAX_SECONDS * 1000;
    return isTooLong ? { ...each, VisibilityTimeout: TOO_LONG_SECONDS } : each;
  }

  app.addHook('preHandler', async (request) => {
    const { body } = request;
    if (v.is(changeBatch, body)) request.body = { ...body, Entries: body.Entries.map(limit) };
    else if (v.is(change, body)) request.body = limit(body);
  });

  app.addHook('onSend', async (request, reply, payload) => {
    const isReceive = request.headers['x-amz-target'] === 'AmazonSQS.ReceiveMessage';
    if (!isReceive || typeof payload !== 'string' || reply.statusCode !== 200) return payload;
    for (const [receiptHandle, at] of receivedAt) {
      if (now() - at <= MAX_SECONDS * 1000) break;
      receivedAt.delete(receiptHandle);
    }
    for (const [, receiptHandle = ''] of payload.matchAll(RECEIPT_HANDLE)) receivedAt.set(receiptHandle, now());
    return payload;
  });
}
