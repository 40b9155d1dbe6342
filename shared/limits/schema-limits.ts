import type { Policy } from '../access/policy.ts';
import { OWNERS } from './owners.ts';

/** A limit of a policy on each JSON schema of a request. */
export interface SchemaLimit {
  /** The limit's name in the policy. */
  readonly name: 'schemaBytes' | 'schemaDepth';
  readonly max: number;
  /** Whose limit it is, for error messages. */
  readonly owner: string;
}

/** Lists a policy's limits on schemas. They need no table. */
export function listSchemaLimits(policy: Policy): readonly SchemaLimit[] {
  return (['key', 'project', 'account'] as const).flatMap((level) =>
    (['schemaBytes', 'schemaDepth'] as const).flatMap((name) => {
      const max = policy[level]?.limits?.[name];
      return max === undefined ? [] : [{ name, max, owner: OWNERS[level] }];
    }),
  );
}
