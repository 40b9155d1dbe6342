/**
 * Returns whether the answer to a request is stored. Everything that stores answers calls this function.
 * @param byDefault for a body without `store`
 * @param mayStore false if the caller's policy permits no stored content, whatever the body says
 */
export function storesAnswer(body: unknown, byDefault: boolean, mayStore = true): boolean {
  if (!mayStore) return false;
  const store = typeof body === 'object' && body !== null && 'store' in body ? body.store : undefined;
  return typeof store === 'boolean' ? store : byDefault;
}

/**
 * Returns whether a request creates a background job. Its job id is derived from the idempotency key and the body, so a
 * repeated request finds the job.
 */
export function runsInBackground(body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'background' in body && body.background === true;
}
