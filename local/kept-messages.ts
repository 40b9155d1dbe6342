import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LambentError } from '../shared/core/errors.ts';
import { insideFauxqs, type Stores } from './fauxqs.ts';

type Queue = ReturnType<Stores['sqsStore']['createQueue']>;
type Message = Parameters<Queue['enqueue']>[0];
type KeptMessages = NonNullable<Stores['sqsStore']['persistence']>;

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Has fauxqs write each change of a queue's messages to a database in `folder`, so that a process which is killed loses none.
 * What is said in them is sealed with AES-256-GCM, under a key in the folder that only its owner may read. A queue that is created
 * has the messages again that one of its name had.
 */
export async function keepMessages(folder: string): Promise<KeptMessages> {
  const { PersistenceManager }: { PersistenceManager: new (folder: string) => KeptMessages } =
    await insideFauxqs('persistence.js');
  const key = keyIn(folder);

  class SealedMessages extends PersistenceManager {
    constructor() {
      super(folder);
      // A killed process loses nothing by it, and a message needn't wait for the disk.
      this['db'].exec('PRAGMA synchronous = NORMAL');
    }

    /** The queue is as it is defined now. Inserted again, it would take its messages with it. */
    override insertQueue(queue: Queue): void {
      const earlier = this['db'].prepare('SELECT sequence_counter FROM sqs_queues WHERE name = ?').get(queue.name);
      if (earlier === undefined) {
        super.insertQueue(queue);
        return;
      }
      queue.sequenceCounter = earlier.sequence_counter;
      this['loadSqsMessages'](queue);
      const { ready, delayed, inflight } = queue.inspectMessages();
      for (const message of [...ready, ...delayed, ...inflight.map((each) => each.message)]) open(key, message);
    }

    override insertMessage(queueName: string, message: Message): void {
      super.insertMessage(queueName, sealed(key, message));
    }

    /** fauxqs' own would forget how often the message was received, which the database refuses. */
    override updateMessageReady(messageId: string): void {
      const returned = 'UPDATE sqs_messages SET receipt_handle = NULL, visibility_deadline = NULL WHERE message_id = ?';
      this['db'].prepare(returned).run(messageId);
    }
  }
  return new SealedMessages();
}

function keyIn(folder: string): Buffer {
  const file = join(folder, 'key');
  mkdirSync(folder, { recursive: true });
  if (!existsSync(file)) {
    // Whole or not at all: half a key would open nothing, and nothing could be sent.
    const draft = `${file}.draft`;
    writeFileSync(draft, randomBytes(32), { mode: 0o600, flush: true });
    renameSync(draft, file);
  }
  return readFileSync(file);
}

/** The message with all that its sender has said, and the digests of it, in place of its body. */
function sealed(key: Buffer, message: Message): Message {
  const { body, md5OfBody, messageAttributes, md5OfMessageAttributes, messageDeduplicationId, ...plain } = message;
  const said = { body, md5OfBody, messageAttributes, md5OfMessageAttributes, messageDeduplicationId };
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(plain.messageId));
  const text = Buffer.concat([cipher.update(JSON.stringify(said), 'utf8'), cipher.final()]);
  const record = Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64');
  return { ...plain, body: record, md5OfBody: '', messageAttributes: {}, md5OfMessageAttributes: '' };
}

/** Makes a message that comes from the database what it was. */
function open(key: Buffer, message: Message): void {
  const record = Buffer.from(message.body, 'base64');
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, record.subarray(0, NONCE_BYTES))
      .setAAD(Buffer.from(message.messageId))
      .setAuthTag(record.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    const text = Buffer.concat([decipher.update(record.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]);
    Object.assign(message, JSON.parse(text.toString('utf8')));
  } catch (cause) {
    const advice = 'Put the key back that was in its folder, or delete the folder.';
    throw new LambentError('configuration', `The message ${message.messageId} can't be opened. ${advice}`, { cause });
  }
}
