import type { ModelCall } from './call.ts';
import type { ModelTest } from './models.ts';

/** Something that Bedrock, or a model behind it, refuses. */
export interface Rule {
  /** Names the rule in tests. */
  readonly name: string;
  /** The documentation that states the rule, or a report that quotes the service's answer. */
  readonly source: string;
  readonly appliesTo: ModelTest;
  /** Returns what is wrong with the call, in our words; undefined if nothing is. */
  readonly check: (call: ModelCall) => string | undefined;
}

/** Bedrock's API reference. */
export const REFERENCE = 'https://docs.aws.amazon.com/bedrock/latest/APIReference';
/** Bedrock's user guide. */
export const GUIDE = 'https://docs.aws.amazon.com/bedrock/latest/userguide';
/** The table of the features that Converse supports for each model. */
export const FEATURES = `${GUIDE}/conversation-inference-supported-models-features.html`;
/** Anthropic's documentation of Claude, whose API validates what Bedrock hands on. */
export const CLAUDE = 'https://platform.claude.com/docs/en';
/** Client code whose comments record what models on Bedrock answered, with the recorded answers in its tests. */
export const RECORDED =
  'https://github.com/pydantic/pydantic-ai/blob/main/pydantic_ai_slim/pydantic_ai/providers/bedrock.py';
