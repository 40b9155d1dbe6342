/** About the mean of Mooncake's conversation trace, 343 tokens; Azure's trace of 2023 has 211. */
export const EXPECTED_OUTPUT_TOKENS = 350;

/** Returns the cost of a request to a worker: its prompt's tokens, and those of its expected answer twice. */
export function computeWeight(promptTokens: number, expectedOutputTokens: number): number {
  return promptTokens + 2 * expectedOutputTokens;
}
