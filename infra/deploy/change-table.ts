import type { ResourceChange } from './change-set.ts';

const HEADER = ['action', 'resource', 'type', 'replaced', 'changes'];

/** Returns the lines of a table of changes. Those that would replace or remove data come first, and are marked. */
export function formatChanges(changes: readonly ResourceChange[], lost: readonly ResourceChange[]): string[] {
  const ordered = [...lost, ...changes.filter((change) => !lost.includes(change))];
  const rows = ordered.map((change) => [
    change.action,
    lost.includes(change) ? `${change.id} (DATA)` : change.id,
    change.type,
    change.replacement,
    change.properties.join(', '),
  ]);
  const widths = HEADER.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  return [HEADER, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/**
 * Returns the changes after which the stage would work with a new, empty table, bucket or key.
 */
export function findLostData(changes: readonly ResourceChange[]): ResourceChange[] {
  const types = ['AWS::DynamoDB::Table', 'AWS::KMS::Key', 'AWS::S3::Bucket'];
  return changes.filter(
    ({ type, action, replacement }) =>
      types.includes(type) && (action === 'Remove' || (action === 'Modify' && replacement !== 'no')),
  );
}
