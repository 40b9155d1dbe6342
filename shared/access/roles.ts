import { isReading } from './sandbox.ts';
import { ADMIN_SCOPES, type Scope, TENANT_SCOPES } from './scopes.ts';

/** A named set of scopes. */
export interface Role {
  readonly description: string;
  readonly scopes: readonly Scope[];
}

/** The roles that every deployment has. The administration keeps custom ones beside them, in the same form. */
export const BUILT_IN_ROLES = {
  owner: { description: 'Does everything', scopes: [...TENANT_SCOPES, ...ADMIN_SCOPES] },
  member: { description: 'Calls models, and reads and writes what is stored', scopes: TENANT_SCOPES },
  reader: {
    description: 'Reads everything, and calls no model',
    scopes: [...TENANT_SCOPES, ...ADMIN_SCOPES].filter(isReading),
  },
  sandbox: {
    description: 'Reads models and what is stored, and calls no model',
    scopes: TENANT_SCOPES.filter(isReading),
  },
} as const satisfies Readonly<Record<string, Role>>;
