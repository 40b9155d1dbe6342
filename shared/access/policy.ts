import type { AbuseSection } from './abuse-rules.ts';
import type { ContentRule, GuardrailUse } from './content-policy-schema.ts';
import type { Limits } from './limit-policy.ts';
import type { PersonalDataRules } from './personal-data.ts';

/**
 * What a caller may do besides its scopes. The administration writes and checks it, and the authorizer passes it on, so
 * that a request needs no further read.
 */
export interface Policy {
  /** Restricts all callers of the deployment together. */
  readonly account?: Restrictions;
  /** Restricts all callers of the tenant together. */
  readonly project?: Restrictions;
  /** Restricts the key. */
  readonly key?: Restrictions;
}

/**
 * The restrictions of an account, a project or a key. An absent section restricts nothing. `policy-schema.ts` has the schema
 * of each section that may be written, and `policy-json.ts` the names of those that are enforced.
 */
export interface Restrictions {
  readonly models?: ModelPermissions;
  /** Addresses and blocks of them (CIDR) from which the key may be used. Only keys have this section. */
  readonly ipRanges?: readonly string[];
  /** One of them must have signed the client's certificate. Only projects and the account have this section. */
  readonly certificates?: readonly ActiveCertificate[];
  readonly personalData?: PersonalDataRules;
  readonly limits?: Limits;
  readonly contentRules?: readonly ContentRule[];
  readonly guardrail?: GuardrailUse;
  /** What is kept of content. Keys don't have this section, and the project's replaces the account's. */
  readonly retention?: Retention;
  /** Callers only read what is stored, whatever their scopes. Only projects have this section. */
  readonly readOnly?: true;
  /** When keys are reported or held. Only projects and the account have this section. */
  readonly abuse?: AbuseSection;
}

/** A certificate that clients must have, or that of the authority that signs theirs. */
export interface ActiveCertificate {
  /** The public key: SPKI in DER, in base64. */
  readonly key: string;
  /** True if it may sign others. Any other is a client's own. */
  readonly isAuthority: boolean;
  /** Epoch seconds. */
  readonly expiresAt: number;
}

/** The aliases of `models.json` that may be used. */
export interface ModelPermissions {
  readonly mode: 'allow' | 'deny';
  readonly models: readonly string[];
}

/** What is kept of content, by OpenAI's names. The first two keep the same, because content is never logged. */
export type Retention = 'none' | 'modified_abuse_monitoring' | 'zero_data_retention';

/** The policy of a caller without restrictions. Code that only restricted callers need is not loaded for it. */
export const UNRESTRICTED: Policy = {};
