import { omitUndefined } from '../core/objects.ts';
import type { CacheMark, ContentPart, ImagePart, TextPart } from '../inference/generation.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { isBase64, normalizeAllowedUrl, parseImageType } from '../wire/image-sources.ts';
import type { Block, CacheControl, ResultBlock } from './schema.ts';
import { abbreviate, invalidRequestError } from './validation.ts';

/** Returns the mark of a `cache_control`, to be spread into a part. */
export function toMark(control: CacheControl): { cache?: CacheMark } {
  return control == null ? {} : { cache: control.ttl == null ? {} : { ttl: control.ttl } };
}

/** Returns the text part of a block. */
export function toTextPart({ text, cache_control }: Extract<Block, { type: 'text' }>): TextPart {
  return { type: 'text', text, ...toMark(cache_control) };
}

/**
 * Translates a block of a user message or a tool result. Kinds that no model gets have no parts.
 * @param param the block's path, for error messages
 * @throws LambentError `invalid_value` for an image or document that can't be sent to a model
 */
export function toContentParts(block: Block | ResultBlock, param: string, registry: ModelRegistry): ContentPart[] {
  switch (block.type) {
    case 'text':
      return [toTextPart(block)];
    case 'image':
      return [{ ...toImage(block, param, registry), ...toMark(block.cache_control) }];
    case 'document':
      return toDocumentParts(block, param, registry);
    case 'search_result': {
      const text = block.content.flatMap((each) => (each.type === 'text' ? [each.text] : [])).join('\n');
      const title = `${block.title} (${block.source})`;
      return [{ type: 'document', mediaType: 'text/plain', text, title, param, ...toMark(block.cache_control) }];
    }
    case 'tool_reference':
      // Deferred tools are sent with every request, so the model has this one already.
      return [{ type: 'text', text: `The tool ${block.tool_name} is available.` }];
    default:
      return [];
  }
}

function toImage({ source }: Extract<Block, { type: 'image' }>, param: string, registry: ModelRegistry): ImagePart {
  if (source.type === 'base64') {
    const mediaType = parseImageType(source.media_type);
    if (mediaType === undefined) {
      throw invalidRequestError(
        `${param}.source.media_type`,
        "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'",
      );
    }
    if (!isBase64(source.data)) throw invalidRequestError(`${param}.source.data`, 'Image data is not valid base64');
    return { type: 'image', mediaType, base64: source.data, param };
  }
  if (source.type === 'other')
    throw invalidRequestError(`${param}.source`, 'Only images of type base64 and url are supported');
  const url = normalizeAllowedUrl(source.url, registry.imageHosts);
  if (url !== undefined) return { type: 'image', url, param };
  throw invalidRequestError(
    `${param}.source.url`,
    'This service does not download images. Send the image as base64' +
      `${registry.imageHosts.length === 0 ? '' : ` or as an https URL of one of these hosts: ${registry.imageHosts.join(', ')}`}`,
  );
}

function toDocumentParts(
  block: Extract<Block, { type: 'document' }>,
  param: string,
  registry: ModelRegistry,
): ContentPart[] {
  const { source, context } = block;
  const title = block.title ?? undefined;
  const introduction: TextPart[] = context ? [{ type: 'text', text: context }] : [];
  const common = { type: 'document', param, ...omitUndefined({ title }), ...toMark(block.cache_control) } as const;
  switch (source.type) {
    case 'base64': {
      if (source.media_type !== 'application/pdf') {
        const type = abbreviate(source.media_type);
        throw invalidRequestError(
          `${param}.source.media_type`,
          `Input should be 'application/pdf', but got '${type}'. Send a text as a source of type text`,
        );
      }
      if (!isBase64(source.data)) throw invalidRequestError(`${param}.source.data`, 'The document is not valid base64');
      return [...introduction, { ...common, mediaType: 'application/pdf', base64: source.data }];
    }
    case 'text':
      return [...introduction, { ...common, mediaType: 'text/plain', text: source.data }];
    case 'content': {
      if (typeof source.content === 'string')
        return [...introduction, { ...common, mediaType: 'text/plain', text: source.content }];
      const parts = source.content.flatMap((each, index) =>
        toContentParts(each, `${param}.source.content.${index}`, registry),
      );
      return [...introduction, ...markLast(parts, block.cache_control)];
    }
    case 'other':
      throw invalidRequestError(`${param}.source`, 'Only documents of type base64, text and content are supported');
  }
}

/** Returns the parts with the mark on the last of them. */
export function markLast<T extends ContentPart>(parts: readonly T[], control: CacheControl): T[] {
  return parts.map((part, index) => (index === parts.length - 1 ? { ...part, ...toMark(control) } : part));
}
