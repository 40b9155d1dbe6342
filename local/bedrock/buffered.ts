import type { ConverseStreamOutput } from '@aws-sdk/client-bedrock-runtime';

/** A content block of a Converse response, as JSON. */
type Block =
  | { text: string }
  | { toolUse: { toolUseId: string; name: string; input: unknown } }
  | { reasoningContent: { reasoningText: { text: string; signature?: string } } | { redactedContent: Uint8Array } };

/** The parts of a content block, as collected from events. */
interface Draft {
  text: string;
  input: string;
  reasoning: string;
  signature: string;
  redacted: Uint8Array | undefined;
  tool: { toolUseId: string; name: string } | undefined;
}

/** Builds the body of a Converse response from the events that ConverseStream would have sent. */
export function buildConverseResponse(events: readonly ConverseStreamOutput[]): unknown {
  const drafts = new Map<number, Draft>();
  const draft = (index = 0): Draft => {
    const known = drafts.get(index);
    if (known) return known;
    const fresh = { text: '', input: '', reasoning: '', signature: '', redacted: undefined, tool: undefined };
    drafts.set(index, fresh);
    return fresh;
  };
  for (const { contentBlockStart: start, contentBlockDelta: delta } of events) {
    const tool = start?.start?.toolUse;
    if (tool) draft(start.contentBlockIndex).tool = { toolUseId: tool.toolUseId ?? '', name: tool.name ?? '' };
    if (delta?.delta) append(draft(delta.contentBlockIndex), delta.delta);
  }
  const metadata = events.find((event) => event.metadata)?.metadata;
  return {
    output: { message: { role: 'assistant', content: [...drafts.values()].map(toBlock) } },
    stopReason: events.find((event) => event.messageStop)?.messageStop?.stopReason ?? 'end_turn',
    usage: metadata?.usage ?? { inputTokens: 0, outputTokens: 0, totalTokens: 0 },
    metrics: { latencyMs: metadata?.metrics?.latencyMs ?? 0 },
    ...(metadata?.serviceTier && { serviceTier: metadata.serviceTier }),
  };
}

type Delta = NonNullable<NonNullable<ConverseStreamOutput['contentBlockDelta']>['delta']>;

function append(draft: Draft, { text, toolUse, reasoningContent }: Delta): void {
  draft.text += text ?? '';
  draft.input += toolUse?.input ?? '';
  draft.reasoning += reasoningContent?.text ?? '';
  draft.signature += reasoningContent?.signature ?? '';
  const redacted = reasoningContent?.redactedContent;
  if (redacted) draft.redacted = Buffer.concat([draft.redacted ?? new Uint8Array(), redacted]);
}

function toBlock({ text, input, reasoning, signature, redacted, tool }: Draft): Block {
  if (tool) return { toolUse: { ...tool, input: JSON.parse(input || '{}') } };
  if (redacted) return { reasoningContent: { redactedContent: redacted } };
  if (reasoning || signature) {
    return { reasoningContent: { reasoningText: { text: reasoning, ...(signature && { signature }) } } };
  }
  return { text };
}
