import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import type { Cloud } from '../../local/cloud.ts';
import type { JobKind } from './kinds.ts';

export const TENANT = 'local';

/** The variable part of a program's message. */
export interface MessageRequest {
  readonly idempotencyKey: string;
  readonly body: object;
  readonly replyTo: string;
}

/** An object that is larger than a body may be. */
const OVERSIZE_KEY = `${TENANT}/inbox/oversize`;
const OVERSIZE_BYTES = 6_000_001;

/** Creates a message that becomes a job. */
export function createMessage(request: Partial<MessageRequest>): string {
  return JSON.stringify({ version: 1, type: 'generate', tenant: TENANT, endpoint: '/v1/responses', ...request });
}

/** Creates a message that can't become a job, or returns undefined for a kind of job that has a proper message. */
export function createPoison(
  kind: JobKind,
  { body, ...request }: MessageRequest,
  bucket: string | undefined,
): string | undefined {
  switch (kind) {
    case 'unparsable':
      return createMessage({ ...request, body }).slice(0, -1);
    case 'unknownModel':
      return createMessage({ ...request, body: { ...body, model: 'unknown' } });
    case 'oversize':
      return createMessage({ ...request, ...{ bodyPointer: { bucket, key: OVERSIZE_KEY } } });
    default:
      return undefined;
  }
}

/** Stores the object that `oversize` messages point to. */
export async function putOversizeBody({ endpoints, resources, credentials }: Cloud): Promise<void> {
  const client = new S3Client({
    region: 'eu-west-1',
    endpoint: endpoints['AWS_ENDPOINT_URL_S3'] ?? '',
    credentials,
    forcePathStyle: true,
  });
  await client.send(
    new PutObjectCommand({ Bucket: resources['BUCKET'], Key: OVERSIZE_KEY, Body: Buffer.alloc(OVERSIZE_BYTES) }),
  );
  client.destroy();
}
