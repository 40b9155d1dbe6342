import type { DocumentPart } from '../inference/generation.ts';
import { isBase64 } from '../wire/image-sources.ts';
import { invalidValueError, missingParameterError } from './validation.ts';

/** How base64 of a PDF begins: `%PDF-`. */
const PDF_HEAD = 'JVBERi0';
/** Media types of texts besides `text/…`. */
const TEXT_TYPE =
  /^(text\/.+|application\/(json|ld\+json|x-ndjson|xml|yaml|x-yaml|toml|javascript|typescript|sql|csv))$/;

/**
 * Parses the data of a file part: a data URL or plain base64, of a PDF or of a text in UTF-8.
 * @param param the path of the data in the request
 * @throws LambentError `missing_required_parameter`, or `invalid_value` for any other data
 */
export function parseFileData(
  data: string | null | undefined,
  filename: string | null | undefined,
  param: string,
): DocumentPart {
  if (data == null) throw missingParameterError(param);
  const head = /^data:([\w.+-]+\/[\w.+-]+)?(?:;[\w=."-]+)*?;base64,/i.exec(data);
  const base64 = head === null ? data : data.slice(head[0].length);
  if (!isBase64(base64)) {
    throw invalidValueError(
      param,
      `Invalid '${param}': expected a base64 data URL such as data:application/pdf;base64,…`,
    );
  }
  const mediaType = head?.[1]?.toLowerCase();
  const rest = { param, ...(filename ? { title: filename } : {}) };
  const isPdf = mediaType === undefined ? base64.startsWith(PDF_HEAD) : mediaType === 'application/pdf';
  if (isPdf) return { type: 'document', mediaType: 'application/pdf', base64, ...rest };
  const text = mediaType === undefined || TEXT_TYPE.test(mediaType) ? decodeText(base64) : undefined;
  if (text !== undefined) return { type: 'document', mediaType: 'text/plain', text, ...rest };
  throw invalidValueError(param, `Invalid '${param}': unsupported file. Expected a PDF, or a text in UTF-8.`);
}

/** Returns undefined if the bytes aren't UTF-8. */
function decodeText(base64: string): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(base64, 'base64'));
  } catch {
    return undefined;
  }
}
