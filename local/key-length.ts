import type { buildApp } from 'fauxqs';

type App = ReturnType<typeof buildApp>;

const MAX_KEY_BYTES = 1024;

/**
 * Makes a fauxqs app refuse requests for objects whose keys have more than 1,024 bytes in UTF-8, as S3 does. Call it before the app
 * is ready.
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
 */
export function refuseLongKeys(app: App): void {
  app.addHook('preHandler', async ({ url }, reply) => {
    const [path = ''] = url.split('?');
    // The path is /BUCKET/KEY.
    const key = decodeURIComponent(path.split('/').slice(2).join('/'));
    if (Buffer.byteLength(key) > MAX_KEY_BYTES) return reply.code(400).type('application/xml').send(TOO_LONG);
  });
}

const TOO_LONG = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>KeyTooLongError</Code><Message>Your key is too long</Message><MaxSizeAllowed>${MAX_KEY_BYTES}</MaxSizeAllowed></Error>`;
