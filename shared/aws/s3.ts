import { S3Client } from '@aws-sdk/client-s3';
import { createRequestHandler } from './request-handler.ts';

/** S3 may take seconds until the first byte of an object of several megabytes. */
const REQUEST_TIMEOUT_MS = 10_000;

/** Creates an S3 client. Region, credentials and endpoint come from Lambda's environment variables. */
export function createS3Client(): S3Client {
  const hasEndpoint = (process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL']) !== undefined;
  return new S3Client({
    // Outside AWS, the bucket's name is no host name.
    forcePathStyle: hasEndpoint,
    requestHandler: createRequestHandler(REQUEST_TIMEOUT_MS),
  });
}
