/** Returns whether the response to a request may be stored: true unless the body has `store: false`. */
export function allowsStorage(body: unknown): boolean {
  return !(typeof body === 'object' && body !== null && 'store' in body && body.store === false);
}

/**
 * Returns whether a request creates a background job. The job's id is derived from the body and the idempotency key, so a
 * repeated request finds it.
 */
export function runsInBackground(body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'background' in body && body.background === true;
}
