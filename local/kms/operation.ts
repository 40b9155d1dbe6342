import * as v from 'valibot';
import { KmsException } from './exception.ts';

/** Runs one operation: takes its JSON input and returns its JSON output. */
export type Operation = (input: unknown) => unknown;

/** The schema of a reference to a key. */
export const KeyId = v.pipe(v.string(), v.minLength(1), v.maxLength(2_048));

/**
 * Returns an operation that validates its input. It throws KmsException `ValidationException` with the field's name.
 */
export function defineOperation<Schema extends v.GenericSchema>(
  schema: Schema,
  run: (input: v.InferOutput<Schema>) => unknown,
): Operation {
  return (json) => {
    const result = v.safeParse(schema, json);
    if (result.success) return run(result.output);
    const [issue] = result.issues;
    throw new KmsException('ValidationException', `Value at '${v.getDotPath(issue) ?? 'input'}': ${issue.message}`);
  };
}

/** Returns the schema of base64 text that encodes 1 to `maxBytes` bytes. */
export function blob(maxBytes: number) {
  return v.pipe(
    v.string(),
    v.base64(),
    v.transform((text): Uint8Array => Buffer.from(text, 'base64')),
    v.check((decoded) => decoded.length >= 1 && decoded.length <= maxBytes, `must have 1 to ${maxBytes} bytes`),
  );
}

export function encodeBase64(data: Uint8Array): string {
  return Buffer.from(data).toString('base64');
}
