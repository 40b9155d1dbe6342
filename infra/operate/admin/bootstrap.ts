import { ADMIN_SCOPES } from '../../../shared/access/scopes.ts';
import { createAdminKey } from '../../../shared/admin/admin-keys.ts';
import { describeAwsError } from '../aws-error.ts';
import type { AdminContext, TargetOptions } from './context.ts';
import { resolveTables } from './target.ts';

/** The first key lasts as long as others: it should make a key for each administrator. */
const LIFETIME_SECONDS = 90 * 86_400;

/**
 * Creates an admin key that may do everything, by writing to the tables with the operator's AWS credentials. It works
 * without an admin key, so also after the last one was lost.
 */
export async function bootstrap(
  options: TargetOptions & { readonly name: string },
  context: AdminContext,
): Promise<void> {
  const { client, accessTable, adminTable, description } = await resolveTables(options, context);
  const api = { table: { client, name: adminTable }, access: { client, name: accessTable }, now: context.now };
  const expiresAt = Math.floor(context.now() / 1000) + LIFETIME_SECONDS;
  try {
    const { key, value } = await createAdminKey(api, { name: options.name, scopes: ADMIN_SCOPES, expiresAt });
    context.note(
      `Created the admin key ${key.id} of ${description}. It expires at ${new Date(expiresAt * 1000).toISOString()}.`,
    );
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
