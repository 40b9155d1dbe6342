import { buildApp } from 'fauxqs';
import { LambentError } from '../shared/core/errors.ts';
import { insideFauxqs, newStores, type StandInOptions } from './fauxqs.ts';
import { keepMessages } from './kept-messages.ts';
import { type Listening, listen } from './listen.ts';
import type { References } from './service/references.ts';
import type { Service } from './service/service.ts';

export interface Queues {
  /** For `AWS_ENDPOINT_URL_SQS`. */
  readonly url: string;
  /**
   * Creates the queues that the service defines, with the messages that they had at an earlier start.
   * @returns their URLs, by logical id
   */
  create(service: Service, references: References): Promise<Record<string, string>>;
  /**
   * Loses everything that is in the queues, cuts who is connected, and comes back at the same address with the same
   * queues, empty.
   * @param downMs milliseconds in between, in which nobody answers
   */
  restart(downMs?: number): Promise<void>;
  close(): Promise<void>;
}

type App = ReturnType<typeof buildApp>;

/** Starts the stand-in for SQS on 127.0.0.1 (its own `startFauxqs` would listen on every address). */
export async function startQueues({ region, path, port = 0 }: StandInOptions): Promise<Queues> {
  await takeAllCharacters();
  const definitions: { readonly name: string; readonly attributes: Record<string, string> }[] = [];
  const kept = path === undefined ? undefined : await keepMessages(path);
  let serving = await serve(port);
  const { port: ownPort } = serving.listening;

  async function serve(at: number): Promise<{ app: App; listening: Listening }> {
    const stores = await newStores();
    if (kept !== undefined) stores.sqsStore.persistence = kept;
    const app = buildApp({ logger: false, defaultRegion: region, stores });
    await app.ready();
    for (const { name, attributes } of definitions) await createQueue(app, name, attributes);
    return { app, listening: await listen(app.server, { port: at }) };
  }

  async function stop(): Promise<void> {
    await serving.listening.close();
    await serving.app.close();
  }

  return {
    url: `http://127.0.0.1:${ownPort}`,
    async create({ resources }, references) {
      const urls: Record<string, string> = {};
      for (const [logicalId, { Type, Properties }] of Object.entries(resources)) {
        if (Type !== 'AWS::SQS::Queue') continue;
        const where = `resources.${logicalId}`;
        const attributes = Object.entries(Properties)
          .filter(([name]) => !['QueueName', 'Tags', 'RedriveAllowPolicy'].includes(name) && !/Kms|Sse/.test(name))
          .map(([name, value]) => [name, asText(references.resolve(value, where))]);
        const definition = { name: references.nameOf(logicalId), attributes: Object.fromEntries(attributes) };
        await createQueue(serving.app, definition.name, definition.attributes);
        definitions.push(definition);
        urls[logicalId] = String(references.resolve({ Ref: logicalId }, where));
      }
      return urls;
    },
    async restart(downMs = 0) {
      await stop();
      kept?.deleteAllMessages();
      await new Promise((wake) => setTimeout(wake, downMs));
      serving = await serve(ownPort);
    },
    async close() {
      await stop();
      kept?.close();
    },
  };
}

/** SQS takes characters beyond U+FFFF in a message too, which fauxqs refuses. */
async function takeAllCharacters(): Promise<void> {
  const { INVALID_MESSAGE_BODY_CHAR } = await insideFauxqs('sqs/sqsTypes.js');
  INVALID_MESSAGE_BODY_CHAR.test = (body: string) =>
    /[^\t\n\r\x20-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/u.test(body);
}

async function createQueue(app: App, QueueName: string, Attributes: Record<string, string>): Promise<void> {
  const { statusCode, body } = await app.inject({
    method: 'POST',
    url: '/',
    headers: { 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': 'AmazonSQS.CreateQueue' },
    payload: JSON.stringify({ QueueName, Attributes }),
  });
  if (statusCode !== 200) throw new LambentError('configuration', `The queue ${QueueName} can't be created: ${body}`);
}

function asText(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
