import type { TenantKeyTable } from '../../../shared/vault/key-table.ts';
import type { Interleaving } from './interleavings.ts';

/** Returns the table for one actor: each of its requests waits until the actor is chosen. */
export function gateTable(table: TenantKeyTable, actor: string, turns: Interleaving): TenantKeyTable {
  const inTurn =
    <Arguments extends unknown[], Result>(request: (...given: Arguments) => Promise<Result>) =>
    async (...given: Arguments): Promise<Result> => {
      await turns.waitForTurn(actor);
      return request(...given);
    };
  return {
    ...table,
    read: inTurn(table.read),
    addVersion: inTurn(table.addVersion),
    replaceWrapping: inTurn(table.replaceWrapping),
    markErased: inTurn(table.markErased),
  };
}
