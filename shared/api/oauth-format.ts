import type { LambentError } from '../core/errors.ts';
import type { ApiFormat } from '../lambda/http-responder.ts';
import { errorHeadersFor, httpStatusFor, publicMessageFor } from '../wire/error-responses.ts';

/** The format of the token endpoint's errors. @see https://www.rfc-editor.org/rfc/rfc6749#section-5.2 */
export const OAUTH_FORMAT: ApiFormat = {
  errorResponse: (error) => ({
    status: httpStatusFor(error),
    headers: errorHeadersFor(error),
    json: { error: getOAuthCode(error), error_description: publicMessageFor(error) },
  }),
  errorFrame: () => '',
  keepAliveFrame: '',
  responseHeaders: () => ({ 'cache-control': 'no-store' }),
  exposedHeaders: 'x-request-id',
};

function getOAuthCode(error: LambentError): string {
  if (error.code === 'missing_required_parameter') return 'invalid_request';
  if (error.param === 'grant_type') return 'unsupported_grant_type';
  if (error.param === 'scope') return 'invalid_scope';
  const status = httpStatusFor(error);
  if (status >= 500) return status === 500 ? 'server_error' : 'temporarily_unavailable';
  // RFC 8693 has this code also for tokens that are refused.
  return 'invalid_request';
}
