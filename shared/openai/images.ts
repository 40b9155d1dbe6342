import type { ImagePart, InlineImage } from '../inference/generation.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { isBase64, normalizeAllowedUrl, parseImageType } from '../wire/image-sources.ts';
import { invalidValueError } from './validation.ts';

export type ImageDetail = 'auto' | 'low' | 'high' | 'original';

/**
 * Parses the URL of an image part. Base64 data is kept unchanged. Lambent never fetches a remote URL. It sends the
 * normalized URL to the provider, because the provider's parser could find another host in the original text.
 * @param param the path of the URL in the request
 * @throws LambentError `invalid_value` unless the URL is a data URL of a supported type or an https URL of an allowed
 * host
 */
export function parseImageUrl(
  url: string,
  detail: ImageDetail | null | undefined,
  param: string,
  { imageHosts }: ModelRegistry,
): ImagePart {
  // "original" is "high" without the size limit that only OpenAI applies.
  const rest = { param, ...(detail && { detail: detail === 'original' ? 'high' : detail }) } as const;
  if (url.startsWith('data:')) return { type: 'image', ...parseDataUrl(url, param), ...rest };
  const normalizedUrl = normalizeAllowedUrl(url, imageHosts);
  if (normalizedUrl === undefined) {
    throw invalidValueError(
      param,
      `Invalid '${param}': this service does not download images. Send the image as a data URL (data:image/png;base64,…)${
        imageHosts.length === 0 ? '' : ` or as an https URL of one of these hosts: ${imageHosts.join(', ')}`
      }.`,
    );
  }
  return { type: 'image', url: normalizedUrl, ...rest };
}

function parseDataUrl(url: string, param: string): Pick<InlineImage, 'mediaType' | 'base64'> {
  const head = /^data:(image\/[a-z]+)(?:;[\w=-]+)*;base64,/i.exec(url);
  const mediaType = head?.[1] === undefined ? undefined : parseImageType(head[1]);
  if (head === null || mediaType === undefined) {
    throw invalidValueError(
      param,
      `Invalid '${param}': unsupported image. Expected a base64 data URL of image/png, image/jpeg, image/gif, or image/webp.`,
    );
  }
  const base64 = url.slice(head[0].length);
  if (!isBase64(base64)) {
    throw invalidValueError(param, `Invalid '${param}': the image data is not valid base64.`);
  }
  return { mediaType, base64 };
}
