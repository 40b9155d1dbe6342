import type { ImageBlock } from '@aws-sdk/client-bedrock-runtime';
import type { ImagePart } from '../../generation.ts';
import { decodeBase64 } from './base64.ts';
import { invalidValueError } from './value-errors.ts';

/** Converse's limit for the bytes of an image. */
const MAX_IMAGE_BYTES = 3.75 * 1024 * 1024;

const IMAGE_FORMATS = { 'image/png': 'png', 'image/jpeg': 'jpeg', 'image/gif': 'gif', 'image/webp': 'webp' } as const;

/**
 * Converts an image to Converse's block.
 * @throws UpstreamError `invalid_value` for an image by URL, of more than 3.75 MB or that is not base64
 */
export function toImageBlock(part: ImagePart): ImageBlock {
  if ('url' in part) throw invalidValueError(part.param, 'this model accepts images as data URLs only');
  const bytes = decodeBase64(part.base64, 'image', part.param);
  if (bytes.length > MAX_IMAGE_BYTES) throw invalidValueError(part.param, 'this model accepts images of up to 3.75 MB');
  return { format: readImageFormat(bytes) ?? IMAGE_FORMATS[part.mediaType], source: { bytes } };
}

/** Returns the format that the first bytes show. Claude refuses an image whose declared format is another one. */
function readImageFormat(bytes: Uint8Array): ImageBlock['format'] {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(12, bytes.length)).toString('latin1');
  if (start.startsWith('\x89PNG')) return 'png';
  if (start.startsWith('\xff\xd8')) return 'jpeg';
  if (start.startsWith('GIF8')) return 'gif';
  return start.startsWith('RIFF') && start.endsWith('WEBP') ? 'webp' : undefined;
}
