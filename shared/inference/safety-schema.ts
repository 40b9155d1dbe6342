import * as v from 'valibot';
import { guardrail, name, openAIEndpoint, region } from './target-schema.ts';

/** A guardrail of Amazon Bedrock that `ApplyGuardrail` calls. */
export const guardrailTarget = v.strictObject({
  ...guardrail,
  /** AWS region of the guardrail; absent for the function's region. */
  region: v.optional(region),
});

/** What serves a moderation model: the content filters of a guardrail, or an endpoint with OpenAI's moderations API. */
export const moderationTarget = v.union(
  [
    v.strictObject({
      /** A name under `guardrails`. */
      guardrail: name,
    }),
    v.strictObject({
      /** The endpoint's name of the model. */
      model: name,
      ...openAIEndpoint,
    }),
  ],
  'must have either `guardrail`, or `model` and `baseUrl`',
);
