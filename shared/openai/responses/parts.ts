import type { ContentPart, TextPart } from '../../inference/generation.ts';
import type { ModelRegistry } from '../../inference/registry.ts';
import { toMark } from '../cache-marks.ts';
import { parseFileData } from '../documents.ts';
import { parseImageUrl } from '../images.ts';
import { missingParameterError } from '../validation.ts';
import type { ResolvedItem } from './items.ts';

type Content = Extract<ResolvedItem, { type: 'function_call_output' }>['output'];

/** Returns a text part. */
export function toTextPart(text: string): TextPart {
  return { type: 'text', text };
}

/**
 * Translates the content of a user message or of a tool's output.
 * @param param the path of the content in the request
 * @throws LambentError `invalid_value` or `missing_required_parameter` for an unsupported image or file
 */
export function toContentParts(content: Content, param: string, registry: ModelRegistry): ContentPart[] {
  if (typeof content === 'string') return [toTextPart(content)];
  return content.map((part, index) => toContentPart(part, `${param}[${index}]`, registry));
}

function toContentPart(part: Exclude<Content, string>[number], path: string, registry: ModelRegistry): ContentPart {
  const mark = toMark(part);
  if (part.type === 'input_text') return { ...toTextPart(part.text), ...mark };
  if (part.type === 'input_file') {
    return { ...parseFileData(part.file_data, part.filename, `${path}.file_data`), ...mark };
  }
  if (part.image_url == null) throw missingParameterError(`${path}.image_url`);
  return { ...parseImageUrl(part.image_url, part.detail, `${path}.image_url`, registry), ...mark };
}
