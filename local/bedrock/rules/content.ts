import type { Block, ModelCall } from './call.ts';
import { findTurn } from './conversation.ts';
import { claude, either, everyModel, matching, of } from './models.ts';
import { CLAUDE, FEATURES, RECORDED, REFERENCE, type Rule } from './rule.ts';

const MESSAGE = `${REFERENCE}/API_runtime_Message.html`;

const MAX_IMAGES = 20;
const MAX_IMAGE_BYTES = 3.75 * 1024 * 1024;
const MAX_DOCUMENTS = 5;
const MAX_DOCUMENT_BYTES = 4.5 * 1024 * 1024;

/** Models of Converse that read images. */
const SEES = matching(
  /claude-3-(?!5-haiku)|claude-(?!v?2|3|instant)|nova-(?!micro)|llama3-2-(?:11|90)b|llama4|pixtral|mistral-large-3|ministral-3|magistral|gemma-3|qwen3-vl|kimi-k2[.-]5|palmyra-vision/,
);

/** What images and documents a message may hold. */
export const CONTENT_RULES: readonly Rule[] = [
  {
    name: 'image-count',
    source: MESSAGE,
    appliesTo: everyModel,
    check: ({ turns }) =>
      findTurn(turns, ({ blocks }, index) =>
        flatten(blocks).filter(({ type }) => type === 'image').length > MAX_IMAGES
          ? `messages.${index}: at most ${MAX_IMAGES} images are accepted`
          : undefined,
      ),
  },
  {
    name: 'image-size',
    source: MESSAGE,
    appliesTo: everyModel,
    check: (call) =>
      listBlocks(call).some((block) => block.type === 'image' && block.bytes.length > MAX_IMAGE_BYTES)
        ? 'An image exceeds 3.75 MB'
        : undefined,
  },
  {
    name: 'image-format',
    source: `${CLAUDE}/build-with-claude/vision`,
    appliesTo: claude(),
    check: (call) => {
      const wrong = listBlocks(call).find((block) => block.type === 'image' && !hasFormat(block.bytes, block.format));
      return wrong?.type === 'image' ? `The image was declared as ${wrong.format}, but is something else` : undefined;
    },
  },
  {
    name: 'image-support',
    source: FEATURES,
    appliesTo: (model) => model.family !== 'unknown' && !SEES(model),
    check: (call) =>
      listBlocks(call).some(({ type }) => type === 'image')
        ? "This model doesn't support the image content block that you provided. Update the content block."
        : undefined,
  },
  {
    name: 'document-count',
    source: MESSAGE,
    appliesTo: everyModel,
    check: ({ turns }) =>
      findTurn(turns, ({ blocks }, index) =>
        flatten(blocks).filter(({ type }) => type === 'document').length > MAX_DOCUMENTS
          ? `messages.${index}: at most ${MAX_DOCUMENTS} documents are accepted`
          : undefined,
      ),
  },
  {
    name: 'document-size',
    source: MESSAGE,
    appliesTo: everyModel,
    check: (call) =>
      listBlocks(call).some((block) => block.type === 'document' && block.bytes > MAX_DOCUMENT_BYTES)
        ? 'A document exceeds 4.5 MB'
        : undefined,
  },
  {
    name: 'document-without-text',
    source: MESSAGE,
    appliesTo: everyModel,
    check: ({ turns }) =>
      findTurn(turns, ({ blocks }, index) =>
        blocks.some(({ type }) => type === 'document') && !blocks.some(({ type }) => type === 'text')
          ? `messages.${index}: a message with a document needs a text block, too`
          : undefined,
      ),
  },
  {
    name: 'document-support',
    source: FEATURES,
    appliesTo: either(
      matching(/nova-micro|jamba-instruct|titan-text-premier|mistral-small|command-(?:light-)?text/),
      of('qwen'),
    ),
    check: (call) =>
      listBlocks(call).some(({ type }) => type === 'document')
        ? "This model doesn't support documents. Remove the document block."
        : undefined,
  },
  {
    name: 'media-from-assistant',
    source: MESSAGE,
    appliesTo: everyModel,
    check: ({ turns }) =>
      findTurn(turns, ({ role, blocks }, index) =>
        role === 'assistant' && blocks.some(({ type }) => type === 'image' || type === 'document')
          ? `messages.${index}: images and documents are accepted in user messages only`
          : undefined,
      ),
  },
  {
    name: 'image-in-tool-result',
    source: RECORDED,
    appliesTo: of('mistral', 'qwen', 'kimi'),
    check: (call) =>
      listResults(call).some(({ type }) => type === 'image')
        ? "This model doesn't support images in tool results"
        : undefined,
  },
  {
    name: 'document-in-tool-result',
    source: RECORDED,
    appliesTo: of('kimi'),
    check: (call) =>
      listResults(call).some(({ type }) => type === 'document')
        ? "This model doesn't support documents in tool results"
        : undefined,
  },
  {
    name: 'nova-document-in-tool-result',
    source: RECORDED,
    appliesTo: of('nova'),
    check: (call) =>
      listResults(call).some((block) => block.type === 'document' && /pdf|docx?|xlsx?/.test(block.format ?? ''))
        ? 'Tool results take text documents only'
        : undefined,
  },
  {
    name: 'claude-document-beside-tool-result',
    source: 'https://github.com/pydantic/pydantic-ai/issues/6081',
    appliesTo: claude(),
    check: ({ turns }) =>
      findTurn(turns, ({ blocks }, index) =>
        blocks.some(({ type }) => type === 'toolResult') && blocks.some(({ type }) => type === 'document')
          ? `messages.${index}: tool_use ids were found without tool_result blocks immediately after`
          : undefined,
      ),
  },
  {
    name: 'tool-result-alone',
    source: 'https://github.com/pydantic/pydantic-ai/issues/6081',
    appliesTo: of('llama', 'mistral', 'writer'),
    check: ({ turns }) =>
      findTurn(turns, ({ blocks }, index) => {
        const content = blocks.filter(({ type }) => type !== 'cachePoint');
        const results = content.filter(({ type }) => type === 'toolResult');
        return results.length > 0 && results.length < content.length
          ? `messages.${index}: conversation blocks and tool result blocks cannot be in the same turn`
          : undefined;
      }),
  },
  {
    name: 'tool-result-status',
    source: RECORDED,
    appliesTo: of('writer'),
    check: ({ turns }) =>
      turns.some(({ blocks }) => blocks.some((block) => block.type === 'toolResult' && block.status !== undefined))
        ? "This model doesn't support the status field. Remove it and try again."
        : undefined,
  },
];

function flatten(blocks: readonly Block[]): Block[] {
  return blocks.flatMap((block) => (block.type === 'toolResult' ? [block, ...block.content] : [block]));
}

function listBlocks({ turns }: ModelCall): Block[] {
  return turns.flatMap(({ blocks }) => flatten(blocks));
}

function listResults({ turns }: ModelCall): Block[] {
  return turns.flatMap(({ blocks }) => blocks.flatMap((block) => (block.type === 'toolResult' ? block.content : [])));
}

/** The first bytes of each image format. */
const SIGNATURES: Readonly<Record<string, (bytes: Buffer) => boolean>> = {
  png: (bytes) => bytes.toString('latin1', 1, 4) === 'PNG',
  jpeg: (bytes) => bytes[0] === 0xff && bytes[1] === 0xd8,
  gif: (bytes) => bytes.toString('latin1', 0, 3) === 'GIF',
  webp: (bytes) => bytes.toString('latin1', 8, 12) === 'WEBP',
};

/** False if the bytes are an image of another format. */
function hasFormat(bytes: Buffer, format: string): boolean {
  const actual = Object.entries(SIGNATURES).find(([, matches]) => matches(bytes))?.[0];
  return actual === undefined || actual === format;
}
