import type { DocumentBlock } from '@aws-sdk/client-bedrock-runtime';
import type { PdfDocument, TextDocument } from '../../generation.ts';
import { decodeBase64 } from './base64.ts';
import { invalidValueError } from './value-errors.ts';

/** Converse's limit for the bytes of a document. */
const MAX_DOCUMENT_BYTES = 4.5 * 1024 * 1024;

/**
 * Converts a PDF to Converse's block.
 * @throws UpstreamError `invalid_value` for a document of more than 4.5 MB or that is not base64
 */
export function toDocumentBlock({ base64, param }: PdfDocument, name: string): DocumentBlock {
  const bytes = decodeBase64(base64, 'document', param);
  if (bytes.length > MAX_DOCUMENT_BYTES) throw invalidValueError(param, 'this model accepts documents of up to 4.5 MB');
  return { format: 'pdf', name, source: { bytes } };
}

/**
 * Creates a function that names the documents of a request: by their titles, as far as Converse allows their characters.
 * @see https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html
 */
export function createDocumentNamer(): (part: PdfDocument) => string {
  const used = new Set<string>();
  return ({ title = '' }) => {
    const allowed = title.replace(/[^A-Za-z0-9()[\]-]+/g, ' ').trim();
    const base = allowed.slice(0, MAX_DOCUMENT_NAME) || 'Document';
    let name = base;
    for (let number = 2; used.has(name); number += 1) name = `${base} (${number})`;
    used.add(name);
    return name;
  };
}

/** The limit is 200 characters; the rest is for a number. */
const MAX_DOCUMENT_NAME = 180;

/** Returns a text document as the text of a message. */
export function formatTextDocument({ title, text }: TextDocument): string {
  return title === undefined ? text : `${title}\n\n${text}`;
}
