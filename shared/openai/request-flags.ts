/** Returns whether the response to a request may be stored: true unless the body has `store: false`. */
export function allowsStorage(body: unknown): boolean {
  return !(typeof body === 'object' && body !== null && 'store' in body && body.store === false);
}

/**
 * Returns whether a request creates a background job. Its job id is derived from the idempotency key and the body, so a
 * repeated request finds the job.
 */
export function runsInBackground(body: unknown): boolean {
  return typeof body === 'object' && body !== null && 'background' in body && body.background === true;
}
