import type { Command } from './command.ts';
import { COMMANDS } from './commands.ts';
import { FIELDS } from './fields.ts';
import { describePath } from './path.ts';

/** The resources of the commands, and `bootstrap`. */
export const RESOURCES: readonly string[] = [
  ...new Set(COMMANDS.map(({ name }) => name.split(' ')[0] ?? '')),
  'bootstrap',
];

const TARGET = '(--stage STAGE [--region REGION] | --local)';
const BOOTSTRAP = `  npm run admin -- bootstrap ${TARGET} [--name NAME] [--expires WHEN]`;
const SYNTAX = `usage:
  npm run admin -- RESOURCE VERB [ID] ${TARGET} [OPTIONS] [--json]
${BOOTSTRAP}`;

const OPTIONS = `  --local       the laptop, while npm start runs
  --json        print JSON instead of a table, or of a created key alone
  --csv         print a report as CSV, with exact amounts
  bootstrap     makes an admin key with your AWS credentials; all else needs one in OPENAI_ADMIN_KEY, but not with --local`;

const VALUES = `  Lists, such as SCOPES and MODELS, are separated by commas. WHEN is 90d, 2027-01-31, 2027-01-31T12:00:00Z or never; TIME is the same,
  with 7d for 7 days ago. JSON may be @FILE.`;

/**
 * Returns the usage for a command line: the commands of the resource that it names. Without one, all commands for `--help`, and the
 * names of the resources after an error.
 */
export function describeUsage(args: readonly string[]): string {
  const resource = args.find((arg) => RESOURCES.includes(arg));
  if (resource === 'bootstrap') return [`usage:\n${BOOTSTRAP}`, OPTIONS, VALUES].join('\n\n');
  if (resource !== undefined) return [SYNTAX, listUsage(resource), VALUES].join('\n\n');
  if (args.includes('--help') || args.includes('-h')) return [SYNTAX, OPTIONS, listUsage(), VALUES].join('\n\n');
  const hint = '  npm run admin -- RESOURCE --help describes the commands of a resource, --help all.';
  return [SYNTAX, `  resources: ${RESOURCES.join(', ')}`, hint].join('\n\n');
}

function listUsage(resource?: string): string {
  const commands = COMMANDS.filter(({ name }) => resource === undefined || name.startsWith(`${resource} `));
  return commands.map((command) => `  ${describeCommand(command)}`).join('\n');
}

function describeCommand({ name, path, fields = [], required = [], data, report }: Command): string {
  const options = [
    ...fields.map((option) => ({ option, text: `--${option} ${FIELDS[option].usage}` })),
    ...(data ? [{ option: 'data' as const, text: '--data JSON' }] : []),
  ];
  return [
    name,
    ...describePath(path),
    ...options.map(({ option, text }) => (required.includes(option) ? text : `[${text}]`)),
    ...(report ? ['[--csv]'] : []),
  ].join(' ');
}
