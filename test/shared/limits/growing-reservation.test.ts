import { expect, it } from 'vitest';
import { type Amounts, type Consumption, NO_CONSUMPTION } from '../../../shared/limits/caps.ts';
import { GrowingReservation } from '../../../shared/limits/growing-reservation.ts';

const tokens = (inputTokens: bigint): Consumption => ({ ...NO_CONSUMPTION, inputTokens });

/** Returns a reservation of 10 input tokens, what it reserves, and what each of its parts is settled with. */
function reserve() {
  const reserved: bigint[] = [10n];
  const settled: Amounts[] = [];
  const createPart = (index: number) => ({
    async settle(used: Amounts) {
      settled[index] = used;
    },
  });
  const growing = new GrowingReservation(tokens(10n), createPart(0), async ({ inputTokens }) =>
    createPart(reserved.push(inputTokens) - 1),
  );
  return { growing, reserved, settled };
}

it('a reservation grows by what is missing of all that it has', async () => {
  const { growing, reserved } = reserve();
  for (const most of [10n, 14n, 14n, 9n, 17n]) await growing.cover(tokens(most));
  expect(reserved).toEqual([10n, 4n, 3n]);
});

it.each([
  [8n, [8n, 0n, 0n]],
  [12n, [10n, 2n, 0n]],
  [15n, [10n, 4n, 1n]],
  [20n, [13n, 4n, 3n]],
])('each part of a reservation is settled with its share of %s tokens', async (used, shares) => {
  const { growing, settled } = reserve();
  for (const most of [14n, 17n]) await growing.cover(tokens(most));
  await growing.settle({ ...tokens(used), requests: 1n });
  expect(settled.map(({ inputTokens }) => inputTokens)).toEqual(shares);
  expect(settled.map(({ requests }) => requests)).toEqual([1n, 0n, 0n]);
});
