import { S3Client } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';

/**
 * Makes the S3 client of a function: region, credentials and endpoint come from Lambda's environment variables. An
 * endpoint of the operator's own is addressed by path, since a bucket's name is no host name there.
 */
export function createS3Client(): S3Client {
  return new S3Client({
    forcePathStyle: (process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL']) !== undefined,
    requestHandler: new NodeHttpHandler({
      connectionTimeout: 1_000,
      // Megabytes at worst, and S3 may take its time over the first of them.
      requestTimeout: 10_000,
      throwOnRequestTimeout: true,
    }),
  });
}
