import type { IncomingHttpHeaders } from 'node:http';

/** Why AWS refuses a request's signature. */
export type SignatureProblem = 'missing' | 'unknownKey' | 'expired' | 'skewed' | 'mismatch' | 'payloadMismatch';

export interface ErrorResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

interface ErrorTexts {
  /** The name in S3's errors. */
  readonly s3: string;
  /** The name in the errors of all other services. */
  readonly name: string;
  readonly message: string;
}

const HINT = 'The credentials of the local cloud are in the file env of its state folder: source .local/env';

/** @see https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList */
const TEXTS: Readonly<Record<SignatureProblem, ErrorTexts>> = {
  missing: {
    s3: 'AccessDenied',
    name: 'MissingAuthenticationTokenException',
    message: `Request is missing Authentication Token. ${HINT}`,
  },
  unknownKey: {
    s3: 'InvalidAccessKeyId',
    name: 'UnrecognizedClientException',
    message: `The security token included in the request is invalid. ${HINT}`,
  },
  expired: { s3: 'AccessDenied', name: 'InvalidSignatureException', message: 'Request has expired.' },
  skewed: {
    s3: 'RequestTimeTooSkewed',
    name: 'InvalidSignatureException',
    message: 'Signature expired, or not yet current: the request was signed more than 15 minutes from now.',
  },
  mismatch: {
    s3: 'SignatureDoesNotMatch',
    name: 'InvalidSignatureException',
    message: 'The request signature we calculated does not match the signature you provided.',
  },
  payloadMismatch: {
    s3: 'XAmzContentSHA256Mismatch',
    name: 'InvalidSignatureException',
    message: "The header x-amz-content-sha256 does not match the SHA-256 of the request's body.",
  },
};

/** Returns the response to a request whose signature is refused, in the form of the service's protocol. */
export function createSignatureError(
  problem: SignatureProblem,
  service: string,
  headers: IncomingHttpHeaders,
): ErrorResponse {
  const { s3, name, message } = TEXTS[problem];
  if (service === 's3') {
    const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${s3}</Code><Message>${message}</Message></Error>`;
    return {
      status: problem === 'payloadMismatch' ? 400 : 403,
      headers: { 'content-type': 'application/xml' },
      body,
    };
  }
  if (headers['x-amz-target'] !== undefined) {
    const type = String(headers['content-type'] ?? 'application/x-amz-json-1.0');
    return { status: 400, headers: { 'content-type': type }, body: JSON.stringify({ __type: name, message }) };
  }
  return {
    status: 403,
    headers: { 'content-type': 'application/json', 'x-amzn-errortype': name },
    body: JSON.stringify({ message }),
  };
}
