import { buildApp } from 'fauxqs';
import { LambentError } from '../shared/core/errors.ts';
import type { AccessKeys } from './access/access-keys.ts';
import { SignatureVerifier } from './access/signature.ts';
import { type Listening, listen } from './listen.ts';
import { acceptAllCharacters } from './message-characters.ts';
import { reorderMessages } from './message-order.ts';
import { keepTraceHeaders } from './message-traces.ts';
import type { References } from './service/references.ts';
import type { Service } from './service/service.ts';
import { limitVisibility } from './visibility-limit.ts';

export interface Queues {
  /** The value for `AWS_ENDPOINT_URL_SQS`. */
  readonly url: string;
  /**
   * Creates the queues that the service defines.
   * @returns their URLs, by logical id
   */
  create(service: Service, references: References): Promise<Record<string, string>>;
  /**
   * Loses all messages, cuts all connections, and listens again on the same port with the same queues, empty.
   * @param downMs milliseconds during which nothing listens
   */
  restart(downMs?: number): Promise<void>;
  close(): Promise<void>;
}

export interface QueuesOptions {
  /** Default: any free port. */
  readonly port?: number;
  /** Epoch milliseconds, for the limit of 12 hours on visibility. fauxqs has a clock of its own. */
  readonly now?: () => number;
  /** The share of messages that others overtake, from 0 to 1. Default: none. SQS orders messages by best effort only. */
  readonly overtaken?: number;
  /** The keys with which requests must be signed. Signatures are not checked when absent. */
  readonly accessKeys?: AccessKeys;
}

type App = ReturnType<typeof buildApp>;

interface QueueDefinition {
  readonly name: string;
  readonly region: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/**
 * Starts the stand-in for SQS on 127.0.0.1. Messages are only in memory, and are lost when it stops. fauxqs's own
 * `startFauxqs` can store them, but listens on every address of the machine.
 */
export async function startQueues(options: QueuesOptions = {}): Promise<Queues> {
  const { port = 0, now = Date.now, overtaken = 0, accessKeys } = options;
  const verifier = accessKeys && new SignatureVerifier('sqs', accessKeys);
  const definitions: QueueDefinition[] = [];
  let serving = await serve(port);
  const { port: ownPort } = serving.listening;

  async function serve(at: number): Promise<{ app: App; listening: Listening }> {
    const app = buildApp({ logger: false });
    acceptAllCharacters(app);
    keepTraceHeaders(app);
    limitVisibility(app, now);
    reorderMessages(app, overtaken);
    await app.ready();
    for (const definition of definitions) await createQueue(app, definition);
    return { app, listening: await listen(app.server, { port: at, verifier }) };
  }

  async function stop(): Promise<void> {
    await serving.listening.close();
    await serving.app.close();
  }

  return {
    url: `http://127.0.0.1:${ownPort}`,
    async create({ region, resources }, references) {
      const urls: Record<string, string> = {};
      for (const [logicalId, { Type, Properties }] of Object.entries(resources)) {
        if (Type !== 'AWS::SQS::Queue') continue;
        const where = `resources.${logicalId}`;
        const attributes = Object.entries(Properties)
          .filter(([name]) => !['QueueName', 'Tags', 'RedriveAllowPolicy'].includes(name) && !/Kms|Sse/.test(name))
          .map(([name, value]) => [name, toText(references.resolve(value, where))]);
        const definition = { name: references.getName(logicalId), region, attributes: Object.fromEntries(attributes) };
        await createQueue(serving.app, definition);
        definitions.push(definition);
        urls[logicalId] = String(references.resolve({ Ref: logicalId }, where));
      }
      return urls;
    },
    async restart(downMs = 0) {
      await stop();
      await new Promise((wake) => setTimeout(wake, downMs));
      serving = await serve(ownPort);
    },
    close: stop,
  };
}

async function createQueue(app: App, { name: QueueName, region, attributes }: QueueDefinition): Promise<void> {
  const { statusCode, body } = await app.inject({
    method: 'POST',
    url: '/',
    headers: {
      'content-type': 'application/x-amz-json-1.0',
      'x-amz-target': 'AmazonSQS.CreateQueue',
      // fauxqs takes the region of the queue's ARN from the signature's scope, and reads nothing else of a signature.
      authorization: `AWS4-HMAC-SHA256 Credential=local/20260101/${region}/sqs/aws4_request`,
    },
    payload: JSON.stringify({ QueueName, Attributes: attributes }),
  });
  if (statusCode !== 200) throw new LambentError('configuration', `The queue ${QueueName} can't be created: ${body}`);
}

function toText(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
