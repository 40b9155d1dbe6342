import type { buildApp } from 'fauxqs';

type App = ReturnType<typeof buildApp>;

/**
 * Makes a fauxqs app reject a PutObject with `If-None-Match: *` as S3 does: with status 412 if the object exists, and with 409 if
 * another such request for the object is in progress. fauxqs ignores the header. Call it before the app is ready.
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
 */
export function enforceConditionalWrites(app: App): void {
  const inProgress = new Map<string, object>();
  app.addHook('preHandler', async (request, reply) => {
    if (request.method !== 'PUT' || request.headers['if-none-match'] !== '*') return;
    const url = new URL(request.url, 'http://s3').pathname;
    if (inProgress.has(url)) {
      return reply.code(409).type('application/xml').send(toXml('ConditionalRequestConflict'));
    }
    inProgress.set(url, request);
    const { statusCode } = await app.inject({ method: 'HEAD', url });
    if (statusCode === 200) return reply.code(412).type('application/xml').send(toXml('PreconditionFailed'));
  });
  const release = (request: { readonly url: string }): void => {
    const url = new URL(request.url, 'http://s3').pathname;
    if (inProgress.get(url) === request) inProgress.delete(url);
  };
  app.addHook('onResponse', async (request) => release(request));
  app.addHook('onRequestAbort', async (request) => release(request));
}

function toXml(code: string): string {
  return `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>A condition of the request does not hold.</Message></Error>`;
}
