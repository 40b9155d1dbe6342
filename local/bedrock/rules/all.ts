import { CACHING_RULES } from './caching.ts';
import type { ModelCall } from './call.ts';
import { CONTENT_RULES } from './content.ts';
import { CONVERSATION_RULES } from './conversation.ts';
import type { Rule } from './rule.ts';
import { SAMPLING_RULES } from './sampling.ts';
import { SCHEMA_RULES } from './schemas.ts';
import { TOOL_RULES } from './tools.ts';

/** Everything that the stand-in refuses, in the order in which it is checked. */
export const RULES: readonly Rule[] = [
  ...CONVERSATION_RULES,
  ...TOOL_RULES,
  ...CONTENT_RULES,
  ...SAMPLING_RULES,
  ...SCHEMA_RULES,
  ...CACHING_RULES,
];

/** Returns the first rule that a call breaks, and what it says; undefined if the model would take the call. */
export function findRefusal(call: ModelCall): { readonly rule: Rule; readonly message: string } | undefined {
  for (const rule of RULES) {
    const message = rule.appliesTo(call.model) ? rule.check(call) : undefined;
    if (message !== undefined) return { rule, message };
  }
  return undefined;
}
