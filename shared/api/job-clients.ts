import { createDynamoDBClient } from '../aws/dynamodb.ts';
import { createKmsClient } from '../aws/kms.ts';
import { createS3Client } from '../aws/s3.ts';
import { createSQSClient } from '../aws/sqs.ts';

/** Creates the AWS clients of a function that runs or completes jobs. */
export function createJobClients() {
  return { dynamodb: createDynamoDBClient(), kms: createKmsClient(), s3: createS3Client(), sqs: createSQSClient() };
}
