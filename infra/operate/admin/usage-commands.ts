import { isObject } from '../../../shared/core/objects.ts';
import type { Command } from './command.ts';

const REPORT = {
  method: 'GET',
  report: true,
  rename: { project: 'project_ids', user: 'user_ids' },
  defaults: { since: '30d' },
} as const satisfies Partial<Command>;
const USAGE_FIELDS = ['since', 'until', 'width', 'by', 'project', 'key', 'user', 'model'] as const;

/** The commands of usage, costs and the audit log. */
export const USAGE_COMMANDS: readonly Command[] = [
  { name: 'usage completions', path: 'usage/completions', fields: USAGE_FIELDS, ...REPORT },
  { name: 'usage embeddings', path: 'usage/embeddings', fields: USAGE_FIELDS, ...REPORT },
  { name: 'usage moderations', path: 'usage/moderations', fields: USAGE_FIELDS, ...REPORT },
  { name: 'costs list', path: 'costs', fields: ['since', 'until', 'by', 'project', 'key', 'user'], ...REPORT },
  {
    name: 'audit-logs list',
    method: 'GET',
    path: 'audit_logs',
    fields: ['since', 'until', 'events', 'project', 'key', 'id'],
    rename: {
      since: 'effective_at[gte]',
      until: 'effective_at[lt]',
      project: 'project_ids',
      key: 'actor_ids',
      id: 'resource_ids',
    },
    toRow: toActRow,
  },
];

/** The details of an act are in the field that its type names. */
function toActRow(act: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { id, type, effective_at, project, actor } = act;
  const key = isObject(actor) && isObject(actor['api_key']) ? actor['api_key']['id'] : undefined;
  return { id, type, effective_at, project: isObject(project) ? project['id'] : null, key, details: act[String(type)] };
}
