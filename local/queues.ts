import { buildApp } from 'fauxqs';
import { LambentError } from '../shared/runtime/errors.ts';
import { listen } from './listen.ts';
import type { References } from './service/references.ts';
import type { Service } from './service/service.ts';

export interface Queues {
  /** Serves SQS and S3. */
  readonly url: string;
  /**
   * Creates the queues that the service defines.
   * @returns their URLs, by logical id
   */
  create(service: Service, references: References): Promise<Record<string, string>>;
  close(): Promise<void>;
}

/** Starts the stand-in for SQS and S3 on 127.0.0.1 (its own `startFauxqs` would listen on every address). */
export async function startQueues({ region, port = 0 }: { region: string; port?: number }): Promise<Queues> {
  const app = buildApp({ logger: false, defaultRegion: region });
  await app.ready();
  const listening = await listen(app.server, { port });

  async function createQueue(QueueName: string, Attributes: Record<string, string>): Promise<void> {
    const { statusCode, body } = await app.inject({
      method: 'POST',
      url: '/',
      headers: { 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': 'AmazonSQS.CreateQueue' },
      payload: JSON.stringify({ QueueName, Attributes }),
    });
    if (statusCode !== 200) throw new LambentError('configuration', `The queue ${QueueName} can't be created: ${body}`);
  }

  return {
    url: `http://127.0.0.1:${listening.port}`,
    async create({ resources }, references) {
      const urls: Record<string, string> = {};
      for (const [logicalId, { Type, Properties }] of Object.entries(resources)) {
        if (Type !== 'AWS::SQS::Queue') continue;
        const where = `resources.${logicalId}`;
        const attributes = Object.entries(Properties)
          .filter(([name]) => !['QueueName', 'Tags', 'RedriveAllowPolicy'].includes(name) && !/Kms|Sse/.test(name))
          .map(([name, value]) => [name, asText(references.resolve(value, where))]);
        await createQueue(references.nameOf(logicalId), Object.fromEntries(attributes));
        urls[logicalId] = String(references.resolve({ Ref: logicalId }, where));
      }
      return urls;
    },
    async close() {
      await app.close();
      await listening.close();
    },
  };
}

function asText(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
