import { LambentError } from '../core/errors.ts';

const MESSAGE =
  'The request was refused because its content violates the content policy. Please modify it and try again.';

/** The error for a request whose content a rule or guardrail refuses. It doesn't name the rule, which would help to evade it. */
export function contentRefusedError(): LambentError {
  return new LambentError('content_filter', MESSAGE, { refusal: MESSAGE });
}
