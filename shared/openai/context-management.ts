import type { ResponsesBody } from './responses/schema.ts';

type ContextManagement = Pick<ResponsesBody, 'context_management'>;

/** Returns whether a request asks for the compaction of a long context. */
export function asksForCompaction({ context_management: entries }: ContextManagement): boolean {
  return entries?.some(({ type }) => type === 'compaction') ?? false;
}

/** Lists the entries of `context_management` whose type is unknown. */
export function listUnknownManagement({ context_management: entries }: ContextManagement): string[] {
  return (entries ?? []).filter(({ type }) => type !== 'compaction').map(({ type }) => `context_management[${type}]`);
}
