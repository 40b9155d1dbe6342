import type { ErrorFrame, Responder } from './frames.ts';

/**
 * Bedrock's errors for an account or a role that may not use a model. Bedrock's API reference names the exceptions but
 * not their texts; each text is quoted in the report that its comment links to.
 */
export const ACCESS_ERRORS = {
  /** https://github.com/aws-samples/sample-host-openclaw-on-amazon-bedrock-agentcore/issues/41 */
  marketplaceSubscription: {
    type: 'error',
    status: 403,
    name: 'AccessDeniedException',
    message:
      'Model access is denied due to IAM user or service role is not authorized to perform the required AWS Marketplace actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to this model. Refer to the Amazon Bedrock documentation for further details. Your AWS Marketplace subscription for this model cannot be completed at this time. If you recently fixed this issue, try again after 2 minutes.',
  },
  /** https://github.com/Tracer-Cloud/opensre/pull/1811 */
  paymentMethod: {
    type: 'error',
    status: 403,
    name: 'AccessDeniedException',
    message:
      'Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided. Your AWS Marketplace subscription for this model cannot be completed at this time. If you recently fixed this issue, try again after 2 minutes.',
  },
  /** Anthropic's form, once per account. */
  useCaseForm: {
    type: 'error',
    status: 404,
    name: 'ResourceNotFoundException',
    message:
      'Model use case details have not been submitted for this account. Fill out the Anthropic use case details form before using the model. If you have already filled out the form, try again in 15 minutes.',
  },
  modelAccess: {
    type: 'error',
    status: 403,
    name: 'AccessDeniedException',
    message: "You don't have access to the model with the specified model ID.",
  },
  /** https://github.com/aws-samples/sample-badgers/issues/33 */
  permission: {
    type: 'error',
    status: 403,
    name: 'AccessDeniedException',
    message:
      'User: arn:aws:sts::123456789012:assumed-role/lambent-dev-ChatRole/lambent-dev-chat is not authorized to perform: bedrock:InvokeModelWithResponseStream on resource: arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-opus-4-6-v1 because no identity-based policy allows the bedrock:InvokeModelWithResponseStream action',
  },
  inferenceProfile: {
    type: 'error',
    status: 400,
    name: 'ValidationException',
    message:
      "Invocation of model ID anthropic.claude-sonnet-4-6 with on-demand throughput isn't supported. Retry your request with the ID or ARN of an inference profile that contains this model.",
  },
} as const satisfies Readonly<Record<string, ErrorFrame>>;

/** Returns a responder that refuses every call with one of Bedrock's errors for missing access. */
export function refuseAccess(kind: keyof typeof ACCESS_ERRORS): Responder {
  return async function* () {
    yield ACCESS_ERRORS[kind];
  };
}
