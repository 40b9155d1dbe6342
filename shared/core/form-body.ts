import { LambentError } from './errors.ts';
import { type ProxyBody, parseJsonBody, readBodyText } from './json-body.ts';

/**
 * Parses the body of an API Gateway event that is a form (`application/x-www-form-urlencoded`) into an object of its fields, and
 * any other as JSON.
 * @throws LambentError `invalid_value` if a field occurs twice; as `parseJsonBody`
 */
export function parseFormBody(event: ProxyBody, contentType: string | undefined): unknown {
  if (!/^application\/x-www-form-urlencoded\b/i.test(contentType ?? '')) return parseJsonBody(event, contentType);
  const form = new URLSearchParams(readBodyText(event));
  const twice = [...form.keys()].find((name) => form.getAll(name).length > 1);
  if (twice === undefined) return Object.fromEntries(form);
  throw new LambentError('invalid_value', `The field '${twice.slice(0, 64)}' occurs twice.`);
}
