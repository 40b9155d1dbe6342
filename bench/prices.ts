/**
 * AWS's list prices in US East (N. Virginia), US dollars, above the free tier and before any discount. One place,
 * so that a changed price is a changed number here. Not yet checked against the pages named: of them only DynamoDB's have
 * been compared, and with what others write of them (https://airbyte.com/data-engineering-resources/dynamodb-pricing).
 */

/** A million requests to SQS, standard queue; up to 64 KB each. https://aws.amazon.com/sqs/pricing/ */
export const SQS_PER_MILLION = 0.4;

/** A million write request units, on demand: 1 KB each. https://aws.amazon.com/dynamodb/pricing/on-demand/ */
export const DYNAMODB_WRITES_PER_MILLION = 0.625;
/** A million read request units, on demand: 4 KB each, strongly consistent. The same page. */
export const DYNAMODB_READS_PER_MILLION = 0.125;

/** A million requests to KMS, symmetric. https://aws.amazon.com/kms/pricing/ */
export const KMS_PER_MILLION = 3;

/** A million invocations. https://aws.amazon.com/lambda/pricing/ */
export const LAMBDA_PER_MILLION = 0.2;
/** A GB-second on arm64, first tier. The same page. */
export const LAMBDA_PER_GB_SECOND = 0.0000133334;
