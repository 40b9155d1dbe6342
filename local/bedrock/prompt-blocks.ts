import { isRecord } from './rules/call.ts';

/** A block of a prompt, in the order in which the model reads them: tools, system prompt, messages. */
export interface PromptBlock {
  /** Identifies the block's content and place. */
  readonly text: string;
  /** Characters that count as tokens. */
  readonly size: number;
  /** How long the cache point after the block keeps the prefix. Absent without a cache point. */
  readonly point?: '5m' | '1h';
}

/** Lists the blocks of a Converse body, or of a body in Claude's own format. */
export function listPromptBlocks(body: unknown): PromptBlock[] {
  if (!isRecord(body)) return [];
  const { toolConfig, tools, system, messages } = body;
  const declared = isRecord(toolConfig) ? toolConfig['tools'] : tools;
  return [
    ...toBlocks(declared, 'tool'),
    ...toBlocks(system, 'system'),
    ...asRecords(messages).flatMap(({ role, content }, index) =>
      toBlocks(content, `${index === 0 ? describeMessages(body) : ''}${String(role)}`),
    ),
  ];
}

/**
 * Returns the settings that belong to the prefix of the messages, but not to that of the tools and the system prompt.
 * @see https://platform.claude.com/docs/en/build-with-claude/prompt-caching#what-invalidates-the-cache
 */
function describeMessages({ toolConfig, tool_choice, thinking, additionalModelRequestFields }: Fields): string {
  const choice = isRecord(toolConfig) ? toolConfig['toolChoice'] : undefined;
  const fields = isRecord(additionalModelRequestFields) ? additionalModelRequestFields : {};
  return JSON.stringify([choice ?? tool_choice ?? fields['tool_choice'], thinking ?? fields['thinking']]);
}

type Fields = Readonly<Record<string, unknown>>;

function toBlocks(content: unknown, place: string): PromptBlock[] {
  const blocks: PromptBlock[] = [];
  for (const block of typeof content === 'string' ? [{ text: content }] : asRecords(content)) {
    const { cachePoint, cache_control: mark, ...rest } = block;
    const previous = blocks.at(-1);
    if (isRecord(cachePoint)) {
      if (previous) blocks[blocks.length - 1] = { ...previous, point: readTtl(cachePoint) };
      continue;
    }
    const json = JSON.stringify(rest);
    blocks.push({ text: `${place}${json}`, size: measure(json), ...(isRecord(mark) && { point: readTtl(mark) }) });
  }
  return blocks;
}

function asRecords(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

function readTtl({ ttl }: Fields): '5m' | '1h' {
  return ttl === '1h' ? '1h' : '5m';
}

/** Images and documents count as about 1,500 tokens each. */
const MEDIA_CHARACTERS = 6_000;

function measure(json: string): number {
  let media = 0;
  const text = json.replace(/"(?:bytes|data)":"[A-Za-z0-9+/=]{200,}"/g, () => {
    media += MEDIA_CHARACTERS;
    return '';
  });
  return text.length + media;
}
