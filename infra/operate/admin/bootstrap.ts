import { ADMIN_SCOPES } from '../../../shared/access/scopes.ts';
import { createAdminKey } from '../../../shared/admin/admin-keys.ts';
import { computeExpiry } from '../../../shared/admin/key-fields.ts';
import { describeAwsError } from '../aws-error.ts';
import type { TargetOptions } from '../local-target.ts';
import { recordAct } from '../record-act.ts';
import type { AdminContext } from './context.ts';
import { resolveTables, type TablesTarget } from './target.ts';

/**
 * Creates an admin key that may do everything, by writing to the tables with the operator's AWS credentials. It works
 * without an admin key, so also after the last one was lost. Records this in the audit log.
 * @throws Error with the reason if no key was created, or if this isn't recorded
 */
export async function bootstrap(
  options: TargetOptions & { readonly name: string; readonly lifetimeSeconds: number | null },
  context: AdminContext,
): Promise<void> {
  const { now, note, print } = context;
  const target = await resolveTables(options, context);
  const expiresAt = computeExpiry(options.lifetimeSeconds, now());
  const { id, value } = await create(target, { name: options.name, expiresAt }, context);
  const end = expiresAt === null ? 'never expires' : `expires at ${new Date(expiresAt * 1000).toISOString()}`;
  note(`Created the admin key ${id} of ${target.description}. It ${end}.`);
  note("Store it now, as OPENAI_ADMIN_KEY: it can't be shown again.");
  print(value);
  try {
    const details = { data: { scopes: ADMIN_SCOPES }, expires_at: expiresAt };
    await recordAct(target.recorder, { type: 'tenant.admin_api_key.created', objectId: id, details }, now());
  } catch (thrown) {
    const consequence = `The key ${id} works, but its creation is not recorded in the audit log.`;
    throw new Error(`${consequence} ${describeAwsError(thrown)}`, { cause: thrown });
  }
}

async function create(
  { client, accessTable, adminTable, description }: TablesTarget,
  fields: { readonly name: string; readonly expiresAt: number | null },
  { now }: AdminContext,
): Promise<{ readonly id: string; readonly value: string }> {
  const api = { table: { client, name: adminTable }, access: { client, name: accessTable }, now };
  try {
    const { key, value } = await createAdminKey(api, { ...fields, scopes: ADMIN_SCOPES });
    return { id: key.id, value };
  } catch (thrown) {
    const isMissing = thrown instanceof Error && thrown.name === 'ResourceNotFoundException';
    const reason = isMissing
      ? `no table ${accessTable} or ${adminTable}: check --stage, --region and the account`
      : describeAwsError(thrown);
    throw new Error(`${description}: ${reason}`, { cause: thrown });
  } finally {
    client.destroy();
  }
}
