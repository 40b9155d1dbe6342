import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HAS_PYTHON, type Moto, startMoto } from './moto.ts';

const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };

describe.skipIf(!HAS_PYTHON)('moto', () => {
  let moto: Moto;
  beforeAll(async () => {
    moto = await startMoto();
  });
  afterAll(() => moto?.stop());

  it('moto answers the AWS SDK as account 123456789012', async () => {
    const client = new STSClient({ region: 'eu-west-1', endpoint: moto.url, credentials });
    expect(await client.send(new GetCallerIdentityCommand())).toMatchObject({ Account: '123456789012' });
  });
});
