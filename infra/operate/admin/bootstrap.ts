import { ADMIN_SCOPES } from '../../../shared/access/scopes.ts';
import { createAdminKey } from '../../../shared/admin/admin-keys.ts';
import { computeExpiry } from '../../../shared/admin/key-fields.ts';
import { describeAwsError } from '../aws-error.ts';
import type { TargetOptions } from '../local-target.ts';
import type { AdminContext } from './context.ts';
import { resolveTables } from './target.ts';

/**
 * Creates an admin key that may do everything, by writing to the tables with the operator's AWS credentials. It works
 * without an admin key, so also after the last one was lost.
 */
export async function bootstrap(
  options: TargetOptions & { readonly name: string; readonly lifetimeSeconds: number | null },
  context: AdminContext,
): Promise<void> {
  const { client, accessTable, adminTable, description } = await resolveTables(options, context);
  const api = { table: { client, name: adminTable }, access: { client, name: accessTable }, now: context.now };
  const expiresAt = computeExpiry(options.lifetimeSeconds, context.now());
  try {
    const { key, value } = await createAdminKey(api, { name: options.name, scopes: ADMIN_SCOPES, expiresAt });
    const end = expiresAt === null ? 'never expires' : `expires at ${new Date(expiresAt * 1000).toISOString()}`;
    context.note(`Created the admin key ${key.id} of ${description}. It ${end}.`);
    context.note("Store it now, as OPENAI_ADMIN_KEY: it can't be shown again.");
    context.print(value);
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
