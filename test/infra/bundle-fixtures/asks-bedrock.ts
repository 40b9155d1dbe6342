/** A function that asks for the Bedrock client only when it is called, and leaves all of the client's settings alone. */
import { sep } from 'node:path';

export const note = `loaded before the client${sep}`;

export async function handler(): Promise<unknown> {
  const { converse } = await import('./bedrock-client.ts');
  return converse();
}
