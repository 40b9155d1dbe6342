import { type Command, listCommands } from './command.ts';

const PROVIDERS = 'workload_identity_providers';
const RULES = `${PROVIDERS}/{provider}/federation_rules`;

/** The commands of identity providers and their federation rules. `--data` has what is nested: keys, transformations, matchers. */
export const IDENTITY_COMMANDS: readonly Command[] = [
  ...listCommands('identity-providers', PROVIDERS),
  {
    name: 'identity-providers create',
    method: 'POST',
    path: PROVIDERS,
    fields: ['name', 'issuer', 'audience', 'description', 'enabled'],
    data: true,
    constants: { type: 'oidc' },
  },
  {
    name: 'identity-providers update',
    method: 'POST',
    path: `${PROVIDERS}/{id}`,
    fields: ['name', 'issuer', 'audience', 'description', 'enabled'],
    data: true,
  },

  ...listCommands('federation-rules', RULES),
  {
    name: 'federation-rules create',
    method: 'POST',
    path: RULES,
    fields: ['project', 'account', 'name', 'description', 'enabled'],
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
