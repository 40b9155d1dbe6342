import { hash } from 'node:crypto';
import type { buildApp } from 'fauxqs';
import * as v from 'valibot';

/**
 * SQS accepts characters beyond U+FFFF, such as emoji, in a message's body; fauxqs refuses them. Bodies are therefore
 * encoded for fauxqs. Each half of a surrogate pair becomes a character of the private use area: U+D800 to U+DFFF
 * become U+E800 to U+EFFF. A character that is in that range already, or is the escape character, is preceded by the
 * escape character. Encoding makes a body longer, by a half if it consists of emoji, so it reaches fauxqs's size limit
 * earlier.
 */
const OFFSET = 0x1000;
const ESCAPE = '\ue7ff';
const TO_ENCODE = /[\ud800-\udfff\ue7ff-\uefff]/g;
const ENCODED = /\ue7ff[\ue7ff-\uefff]|[\ue800-\uefff]/g;

/**
 * Matches the bodies that SQS accepts.
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
 */
const VALID_IN_SQS = /^[\t\n\r\x20-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]*$/u;

/** Encodes a body for fauxqs. A body that SQS refuses is returned unchanged, so that fauxqs refuses it too. */
export function encodeBody(body: string): string {
  if (!VALID_IN_SQS.test(body)) return body;
  return body.replace(TO_ENCODE, (unit) =>
    unit < ESCAPE ? String.fromCharCode(unit.charCodeAt(0) + OFFSET) : ESCAPE + unit,
  );
}

/** Reverses `encodeBody`. */
export function decodeBody(encoded: string): string {
  return encoded.replace(ENCODED, (units) =>
    units.startsWith(ESCAPE) ? units.slice(1) : String.fromCharCode(units.charCodeAt(0) - OFFSET),
  );
}

const sentMessage = v.looseObject({ MessageBody: v.string() });
const sentBatch = v.looseObject({ Entries: v.array(sentMessage) });
const received = v.object({ Messages: v.optional(v.array(v.looseObject({ Body: v.string() })), []) });

/** Makes a fauxqs app accept all message bodies that SQS accepts. Call it before the app is ready. */
export function acceptAllCharacters(app: ReturnType<typeof buildApp>): void {
  /**
   * For each request, the MD5 digests of its bodies, by the digests of the encoded bodies. Senders check the former.
   */
  const digests = new WeakMap<object, Map<string, string>>();

  app.addHook('preHandler', async (request) => {
    const expected = new Map<string, string>();
    const encode = <Sent extends v.InferOutput<typeof sentMessage>>(sent: Sent): Sent => {
      const encoded = encodeBody(sent.MessageBody);
      if (encoded !== sent.MessageBody) expected.set(hash('md5', encoded), hash('md5', sent.MessageBody));
      return { ...sent, MessageBody: encoded };
    };
    const { body } = request;
    if (v.is(sentMessage, body)) request.body = encode(body);
    else if (v.is(sentBatch, body)) request.body = { ...body, Entries: body.Entries.map(encode) };
    digests.set(request, expected);
  });

  app.addHook('onSend', async (request, _reply, payload) => {
    if (typeof payload !== 'string') return payload;
    if (request.headers['x-amz-target'] === 'AmazonSQS.ReceiveMessage') return decodeMessages(payload);
    const expected = [...(digests.get(request) ?? [])];
    return expected.reduce((text, [encoded, original]) => text.replaceAll(encoded, original), payload);
  });
}

function decodeMessages(response: string): string {
  if (response.search(ENCODED) === -1) return response;
  const { Messages } = v.parse(received, JSON.parse(response));
  const decoded = Messages.map((each) => {
    const Body = decodeBody(each.Body);
    return { ...each, Body, MD5OfBody: hash('md5', Body) };
  });
  return JSON.stringify({ Messages: decoded });
}
