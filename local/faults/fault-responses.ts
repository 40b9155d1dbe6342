import { randomUUID } from 'node:crypto';

/** A stand-in into whose responses faults can be injected. */
export type FaultyService = 'dynamodb' | 'sqs' | 'kms' | 's3';

/** A service's error response to a request that it did not perform. */
export interface FaultResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

interface Refusal {
  readonly status: number;
  /** The error's `__type`, or `Code` in S3. */
  readonly type: string;
  readonly message: string;
}

const REFUSALS: Readonly<Record<FaultyService, { readonly throttled: Refusal; readonly failed: Refusal }>> = {
  dynamodb: {
    throttled: {
      status: 400,
      type: 'com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException',
      message: 'The level of configured provisioned throughput for the table was exceeded.',
    },
    failed: {
      status: 500,
      type: 'com.amazonaws.dynamodb.v20120810#InternalServerError',
      message: 'The request processing has failed because of an unknown error, exception or failure.',
    },
  },
  sqs: {
    throttled: {
      status: 400,
      type: 'com.amazonaws.sqs#RequestThrottled',
      message: 'The request was denied due to request throttling.',
    },
    failed: {
      status: 503,
      type: 'com.amazonaws.sqs#ServiceUnavailable',
      message: 'Service is temporarily unavailable.',
    },
  },
  kms: {
    throttled: { status: 400, type: 'ThrottlingException', message: 'Rate exceeded' },
    failed: {
      status: 500,
      type: 'KMSInternalException',
      message: 'The request was rejected because an internal exception occurred.',
    },
  },
  s3: {
    throttled: { status: 503, type: 'SlowDown', message: 'Please reduce your request rate.' },
    failed: { status: 500, type: 'InternalError', message: 'We encountered an internal error. Please try again.' },
  },
};

const JSON_TYPES: Readonly<Record<Exclude<FaultyService, 's3'>, string>> = {
  dynamodb: 'application/x-amz-json-1.0',
  sqs: 'application/x-amz-json-1.0',
  kms: 'application/x-amz-json-1.1',
};

/** Creates an error response in the service's protocol. */
export function createFaultResponse(service: FaultyService, kind: 'throttled' | 'failed'): FaultResponse {
  const { status, type, message } = REFUSALS[service][kind];
  const requestId = randomUUID();
  if (service === 's3') {
    const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${type}</Code><Message>${message}</Message><RequestId>${requestId}</RequestId></Error>`;
    return { status, headers: { 'content-type': 'application/xml', 'x-amz-request-id': requestId }, body };
  }
  return {
    status,
    headers: { 'content-type': JSON_TYPES[service], 'x-amzn-requestid': requestId },
    body: JSON.stringify({ __type: type, message }),
  };
}
