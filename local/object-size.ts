import type { buildApp } from 'fauxqs';

type App = ReturnType<typeof buildApp>;

/** 5 GiB, S3's limit for an object that is uploaded in one request. */
const MAX_OBJECT_BYTES = 5 * 1024 ** 3;

/**
 * Makes a fauxqs app accept objects up to S3's limit. fauxqs's own is 11 MiB. A larger object is refused as S3 does. Call it
 * before the app is ready.
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html
 */
export function acceptLargeObjects(app: App): void {
  app.removeContentTypeParser('*');
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: MAX_OBJECT_BYTES }, (_request, body, done) => {
    done(null, body);
  });
  app.setErrorHandler(async (error, _request, reply) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'FST_ERR_CTP_BODY_TOO_LARGE')) throw error;
    return reply.code(400).type('application/xml').send(TOO_LARGE);
  });
}

const TOO_LARGE = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>EntityTooLarge</Code><Message>Your proposed upload exceeds the maximum allowed size</Message><MaxSizeAllowed>${MAX_OBJECT_BYTES}</MaxSizeAllowed></Error>`;
