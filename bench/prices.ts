/**
 * AWS's list prices in US East (N. Virginia), US dollars, above the free tier and before any discount. AWS's pages fill
 * in most prices by script, so each number was compared with a page that quotes it, which is named beside it. All were
 * looked up on the date below.
 */
export const PRICES_LOOKED_UP = '2026-11-21';

/**
 * Per million requests to SQS, standard queue, up to 64 KB each.
 * https://aws.amazon.com/sqs/pricing/, as quoted in March 2026 by https://cloudburn.io/blog/amazon-sqs-pricing and in
 * June 2026 by https://www.factualminds.com/blog/amazon-sqs-pricing-64kb-rule-fifo-vs-standard/
 */
export const SQS_PER_MILLION = 0.4;

/**
 * Per million write request units, on demand, 1 KB each.
 * https://aws.amazon.com/dynamodb/pricing/on-demand/ for the unit; the price, halved in November 2024, as quoted in
 * July 2025 by https://airbyte.com/data-engineering-resources/dynamodb-pricing
 */
export const DYNAMODB_WRITES_PER_MILLION = 0.625;
/** Per million read request units, on demand, 4 KB each, strongly consistent. The same sources. */
export const DYNAMODB_READS_PER_MILLION = 0.125;

/**
 * Per million requests to KMS, symmetric keys: $0.03 per 10,000.
 * https://aws.amazon.com/kms/pricing/, as quoted in March 2026 by https://www.wring.co/blog/aws-kms-pricing-guide and
 * in June 2026 by https://www.factualminds.com/blog/aws-kms-pricing-keys-requests-multi-region/
 */
export const KMS_PER_MILLION = 3;
/** Per million signatures of a key on the curve P-256: $0.15 per 10,000. https://aws.amazon.com/kms/pricing/ */
export const KMS_SIGNATURES_PER_MILLION = 15;

/**
 * Per million invocations.
 * https://aws.amazon.com/lambda/pricing/, as quoted in May 2026 by
 * https://git.mcrn.ar/mariano/lambda_local_runner/src/branch/main/docs/lambdas-md/lambda-13-cost.md
 */
export const LAMBDA_PER_MILLION = 0.2;
/**
 * Per GB-second on arm64, for the first 7.5 billion per month.
 * The same sources, and https://cloudchipr.com/blog/aws-lambda-pricing (2024)
 */
export const LAMBDA_PER_GB_SECOND = 0.0000133334;

/**
 * Per million PUT and per million GET requests to S3, standard class: $0.005 and $0.0004 per 1,000.
 * https://aws.amazon.com/s3/pricing/
 */
export const S3_PUTS_PER_MILLION = 5;
export const S3_GETS_PER_MILLION = 0.4;

/** Prices of an idle stage, looked up on this date. */
export const IDLE_PRICES_LOOKED_UP = '2026-11-29';

/**
 * Per KMS key and month. Each of a key's first two rotations adds as much.
 * https://aws.amazon.com/kms/pricing/, as quoted by the same pages as `KMS_PER_MILLION`
 */
export const KMS_KEY_PER_MONTH = 1;
/**
 * Per alarm and month for each metric that it watches, with a period of a minute or longer.
 * https://aws.amazon.com/cloudwatch/pricing/, as quoted by https://c3x.dev/resources/aws/aws_cloudwatch_metric_alarm
 */
export const ALARM_METRIC_PER_MONTH = 0.1;
/**
 * Per custom metric and month, for the first 10,000; billed by the hour in which a metric is published.
 * https://aws.amazon.com/cloudwatch/pricing/, as quoted by
 * https://www.vantage.sh/blog/cloudwatch-metrics-pricing-explained-in-plain-english
 */
export const CUSTOM_METRIC_PER_MONTH = 0.3;
/** Per gigabyte of log lines written, and per gigabyte kept for a month. https://aws.amazon.com/cloudwatch/pricing/ */
export const LOGS_WRITTEN_PER_GB = 0.5;
export const LOGS_KEPT_PER_GB = 0.03;
/** Per secret and month. https://aws.amazon.com/secrets-manager/pricing/ */
export const SECRET_PER_MONTH = 0.4;
/**
 * Monthly free tier that does not expire.
 * https://aws.amazon.com/lambda/pricing/, https://aws.amazon.com/sqs/pricing/, https://aws.amazon.com/kms/pricing/ and
 * https://aws.amazon.com/cloudwatch/pricing/
 */
export const FREE_PER_MONTH = {
  alarmMetrics: 10,
  customMetrics: 10,
  lambdaRequests: 1_000_000,
  lambdaGbSeconds: 400_000,
  sqsRequests: 1_000_000,
  kmsRequests: 20_000,
  logGb: 5,
} as const;

/**
 * Per hour of an m7g.xlarge on demand (4 vCPUs, 16 GiB), looked up on 2026-11-30: twice the m7g.large, which
 * https://www.factualminds.com/blog/amazon-ec2-on-demand-pricing-instance-families-2026/ quotes in June 2026.
 */
export const EC2_M7G_XLARGE_PER_HOUR = 0.1632;
/**
 * AWS's fee for managed instances, as a share of the on-demand price, looked up on 2026-11-30.
 * https://aws.amazon.com/lambda/pricing/, as quoted by https://edjgeek.com/blog/lambda-managed-instances/
 */
export const MANAGED_FEE_SHARE = 0.15;
/**
 * Per hour of a NAT gateway, without its price per gigabyte, looked up on 2026-11-30.
 * https://aws.amazon.com/vpc/pricing/, as quoted in February 2026 by https://cloudburn.io/blog/aws-nat-gateway-pricing
 */
export const NAT_GATEWAY_PER_HOUR = 0.045;
