import type { OriginalRequest, Protocol } from '../inference/generation.ts';
import { type ModelRegistry, maySpeak } from '../inference/registry.ts';
import { selectOriginalFields } from '../wire/original-fields.ts';

/** Parameters that Lambent carries out itself, so that no target gets them. */
const OWN: ReadonlySet<string> = new Set([
  ...['model', 'store', 'metadata', 'background', 'conversation', 'previous_response_id', 'context_management'],
]);

export interface OriginalOptions {
  readonly protocol: Exclude<Protocol, 'messages'>;
  /** The alias of the request. */
  readonly name: string;
  readonly registry: ModelRegistry;
  /** The API's own parameters, by name. */
  readonly fields: object;
  /** Parameters that no target gets although the API has them. */
  readonly dropped: readonly string[];
}

/**
 * Returns the original of a request; undefined if none of its targets speaks the API's protocol.
 * @param body a valid body, as the caller sent it
 */
export function createOriginal(
  body: Readonly<Record<string, unknown>>,
  { protocol, name, registry, fields, dropped }: OriginalOptions,
): OriginalRequest | undefined {
  if (!maySpeak(protocol, name, registry)) return undefined;
  const entries = Object.entries(body).filter(([key, value]) => value != null && !OWN.has(key));
  const { passed, ignored } = selectOriginalFields(Object.fromEntries(entries), (key) =>
    Object.hasOwn(fields, key) ? !dropped.includes(key) : undefined,
  );
  return { protocol, body: passed, ignored };
}
