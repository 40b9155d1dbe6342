import type { EmbeddingInput } from '../../inference/embedding.ts';
import type { TOKEN_ENCODINGS } from '../../inference/registry.ts';
import { invalidValueError } from '../validation.ts';

type Encoding = (typeof TOKEN_ENCODINGS)[number];

interface Decoder {
  /** Throws for a token that the encoding doesn't have. */
  readonly decode: (tokens: number[]) => string;
}

/** The tables are files of up to 2 MB. Each is loaded when a request first needs it. */
const LOADERS: Readonly<Record<Encoding, () => Promise<Decoder>>> = {
  cl100k_base: () => import('gpt-tokenizer/encoding/cl100k_base'),
  o200k_base: () => import('gpt-tokenizer/encoding/o200k_base'),
};

/**
 * Decodes token arrays to texts.
 * @throws LambentError `invalid_value` for a token that the encoding doesn't have
 */
export async function decodeTokens(
  inputs: readonly EmbeddingInput[],
  encoding: Encoding,
): Promise<readonly EmbeddingInput[]> {
  const { decode } = await LOADERS[encoding]();
  return inputs.map((input, index) => {
    if (typeof input === 'string') return input;
    try {
      return decode([...input]);
    } catch {
      const param = inputs.length === 1 ? 'input' : `input[${index}]`;
      throw invalidValueError(param, `Invalid '${param}': it has tokens that are not of the encoding ${encoding}.`);
    }
  });
}
