import { mayStoreContent } from '../access/retention.ts';
import type { HttpRequest } from '../access/route.ts';
import type { ModelRegistry } from '../inference/registry.ts';
import { listSchemaLimits } from '../limits/schema-limits.ts';
import type { ParseContext } from '../openai/parameters.ts';
import { findSession } from '../wire/session.ts';

/** Returns the context in which the body of a request in OpenAI's format is parsed. */
export function createParseContext({ principal, headers }: HttpRequest, registry: ModelRegistry): ParseContext {
  const { tenant, policy } = principal;
  return {
    registry,
    tenant,
    session: findSession(headers),
    schemaLimits: listSchemaLimits(policy),
    mayStore: mayStoreContent(policy),
  };
}
