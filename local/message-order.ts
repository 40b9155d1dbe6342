import type { buildApp } from 'fauxqs';
import * as v from 'valibot';

const message = v.looseObject({ MessageBody: v.string(), DelaySeconds: v.optional(v.number()) });
const batch = v.looseObject({ Entries: v.array(message) });

/**
 * Makes a fauxqs app deliver some messages a second late, so that those that are sent meanwhile overtake them. fauxqs itself
 * delivers messages in the order in which they were sent, which SQS's standard queues don't promise. Call it before the app is
 * ready.
 * @param share of messages without a delay of their own, from 0 to 1
 */
export function reorderMessages(app: ReturnType<typeof buildApp>, share: number): void {
  const delay = <Message extends v.InferOutput<typeof message>>(each: Message): Message =>
    Math.random() < share ? { DelaySeconds: 1, ...each } : each;

  app.addHook('preHandler', async (request) => {
    const { body } = request;
    if (v.is(batch, body)) request.body = { ...body, Entries: body.Entries.map(delay) };
    else if (v.is(message, body)) request.body = delay(body);
  });
}
