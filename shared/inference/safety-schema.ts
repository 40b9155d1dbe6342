import * as v from 'valibot';
import { guardrail, name, openAIEndpoint, region } from './target-schema.ts';

/** A guardrail of Amazon Bedrock that `ApplyGuardrail` calls. */
export const guardrailTarget = v.strictObject({
  ...guardrail,
  /** AWS region of the guardrail; absent for the function's region. */
  region: v.optional(region),
});

/** In the mode `block`: whether content is refused or passes while the model is down. Default: `refuse`. */
const onFailure = v.optional(v.picklist(['refuse', 'pass'], 'must be refuse or pass'));

/** What serves a moderation model: the content filters of a guardrail, or an endpoint with OpenAI's moderations API. */
export const moderationTarget = v.union(
  [
    v.strictObject({
      /** A name under `guardrails`. */
      guardrail: name,
      onFailure,
    }),
    v.strictObject({
      /** The endpoint's name of the model. */
      model: name,
      ...openAIEndpoint,
      onFailure,
    }),
  ],
  'must have either `guardrail`, or `model` and `baseUrl`',
);
