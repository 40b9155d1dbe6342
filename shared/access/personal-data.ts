/** The kinds of personal data that can be found. Names and addresses need Bedrock Guardrails. */
export const PERSONAL_DATA_KINDS = [
  'email',
  'phone',
  'residentId',
  'ssn',
  'iban',
  'card',
  'passport',
  'ip',
  'credential',
  'name',
  'address',
] as const;
export type PersonalDataKind = (typeof PERSONAL_DATA_KINDS)[number];

/**
 * What happens to a found value, from the weakest to the strictest:
 * - `off`: it is sent as it is;
 * - `mask`: the model gets a placeholder, which is replaced by the value in the answer;
 * - `redact`: the model gets a placeholder, which stays in the answer;
 * - `refuse`: the request is refused.
 */
export const PERSONAL_DATA_ACTIONS = ['off', 'mask', 'redact', 'refuse'] as const;
export type PersonalDataAction = (typeof PERSONAL_DATA_ACTIONS)[number];

/** How personal data in requests to models is handled. */
export interface PersonalDataRules {
  /** The action for all kinds without an own one, besides names and addresses. Default: `off`. */
  readonly all?: PersonalDataAction | undefined;
  readonly kinds?: Readonly<Partial<Record<PersonalDataKind, PersonalDataAction>>> | undefined;
  /** Further kinds of values, which regular expressions of RE2's syntax match. */
  readonly patterns?: readonly PersonalDataPattern[] | undefined;
  /** Name of the guardrail under `guardrails` of `models.json` that finds names and addresses. */
  readonly guardrail?: string | undefined;
  /** What happens to images and PDF documents, which can't be searched. Default: `refuse`. */
  readonly unsearchable?: 'pass' | 'refuse' | undefined;
}

export interface PersonalDataPattern {
  /** Upper-case letters and digits. It is part of the placeholders. */
  readonly name: string;
  readonly pattern: string;
  readonly action: PersonalDataAction;
}
