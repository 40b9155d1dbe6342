import { type Command, listCommands } from './command.ts';

const PROVIDERS = 'workload_identity_providers';
const PROVIDER_FIELDS = ['name', 'issuer', 'audience', 'description', 'enabled'] as const;
const RULES = `${PROVIDERS}/{provider}/federation_rules`;

/** The commands of certificates, and of identity providers and their federation rules. `--data` has what is nested: keys, transformations, matchers. */
export const IDENTITY_COMMANDS: readonly Command[] = [
  ...listCommands('identity-providers', PROVIDERS),
  {
    name: 'identity-providers create',
    method: 'POST',
    path: PROVIDERS,
    fields: PROVIDER_FIELDS,
    required: ['name', 'issuer', 'audience'],
    data: true,
    constants: { type: 'oidc' },
  },
  {
    name: 'identity-providers update',
    method: 'POST',
    path: `${PROVIDERS}/{id}`,
    fields: PROVIDER_FIELDS,
    data: true,
  },

  { name: 'certificates list', method: 'GET', path: `[projects/{project}/]certificates` },
  { name: 'certificates get', method: 'GET', path: 'certificates/{id}', fields: ['include'] },
  {
    name: 'certificates create',
    method: 'POST',
    path: 'certificates',
    fields: ['certificate', 'name'],
    required: ['certificate'],
  },
  { name: 'certificates update', method: 'POST', path: 'certificates/{id}', fields: ['name'] },
  { name: 'certificates delete', method: 'DELETE', path: 'certificates/{id}' },
  ...['activate', 'deactivate'].map(
    (act): Command => ({
      name: `certificates ${act}`,
      method: 'POST',
      path: `[projects/{project}/]certificates/${act}`,
      fields: ['certificates'],
      required: ['certificates'],
    }),
  ),

  ...listCommands('federation-rules', RULES),
  {
    name: 'federation-rules create',
    method: 'POST',
    path: RULES,
    fields: ['project', 'account', 'name', 'description', 'enabled'],
    required: ['project', 'account', 'data'],
    data: true,
  },
  {
    name: 'federation-rules update',
    method: 'POST',
    path: `${RULES}/{id}`,
    fields: ['name', 'description', 'enabled'],
    data: true,
  },
];
